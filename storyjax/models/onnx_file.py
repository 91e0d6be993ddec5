"""ONNX files as onnxruntime should see them: with inputs of any size, and with their weights as constants.

Networks that older versions of PyTorch exported have one size of input written into them, and list their weights among
the inputs, which keeps onnxruntime from folding batch norms into convolutions. Both are repaired in the bytes, so that
no package beside onnxruntime is needed. The format is that of protocol buffers; the field numbers are of ONNX's
`onnx.proto`: ModelProto.graph 7; GraphProto.initializer 5, input 11, output 12, value_info 13; ValueInfoProto.name 1.
"""

from collections.abc import Iterator

_GRAPH, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 7, 5, 11, 12, 13
_NAME, _TYPE, _TENSOR_NAME = 1, 2, 8
_FLOAT = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes


def with_any_size(model: bytes) -> bytes:
    """Returns an ONNX model whose inputs and outputs are float tensors (n, c, y, x) of any size.

    Inputs that have a value in the file, the weights, are no inputs any more.

    Raises:
        ValueError: the bytes are no ONNX model.
    """
    out, graphs = bytearray(), 0
    for field, wire, value in _fields(model):
        if field == _GRAPH and wire == _BYTES:
            graphs += 1
            value = _rewritten(value)
        out += _encoded(field, wire, value)
    if graphs != 1:
        raise ValueError("no ONNX model: it has no graph")
    return bytes(out)


def _rewritten(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    weights = {_text(value, _TENSOR_NAME) for field, _, value in fields if field == _INITIALIZER}
    out = bytearray()
    for field, wire, value in fields:
        if field == _VALUE_INFO:  # sizes of what is inside, of the one size of input
            continue
        if field in (_INPUT, _OUTPUT):
            name = _text(value, _NAME)
            if field == _INPUT and name in weights:
                continue
            value = _any_size(name)
        out += _encoded(field, wire, value)
    return bytes(out)


def _any_size(name: bytes) -> bytes:
    """A ValueInfoProto: a name, and the type of a float tensor with four axes that have names instead of sizes."""
    # TensorShapeProto.dim 1, Dimension.dim_param 2; TypeProto.Tensor.elem_type 1, shape 2; TypeProto.tensor_type 1.
    dims = b"".join(_encoded(1, _BYTES, _encoded(2, _BYTES, name + axis)) for axis in (b"_n", b"_c", b"_y", b"_x"))
    tensor = _encoded(1, _VARINT, _varint(_FLOAT)) + _encoded(2, _BYTES, dims)
    return _encoded(_NAME, _BYTES, name) + _encoded(_TYPE, _BYTES, _encoded(1, _BYTES, tensor))


def _text(message: bytes, wanted: int) -> bytes:
    return next((value for field, wire, value in _fields(message) if (field, wire) == (wanted, _BYTES)), b"")


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields (field number, wire type, value) of a message; a number's value is its bytes as they stand."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _number(view, at)
        field, wire = key >> 3, key & 7
        start = at
        if wire == _VARINT:
            _, end = _number(view, at)
        elif wire == _BYTES:
            length, start = _number(view, at)
            end = start + length
        elif wire in (_FIXED64, _FIXED32):
            end = at + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError("no protocol buffer")
        if end > len(view) or not field:
            raise ValueError("no protocol buffer, or cut short")
        yield field, wire, bytes(view[start:end])
        at = end


def _number(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where what follows it begins."""
    number = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(view):
            break
        byte = view[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("no protocol buffer, or cut short")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _encoded(field: int, wire: int, value: bytes) -> bytes:
    return _varint(field << 3 | wire) + (_varint(len(value)) if wire == _BYTES else b"") + value
