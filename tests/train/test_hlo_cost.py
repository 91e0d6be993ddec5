"""Loops count as often as they run, and what stays on the chip costs no traffic."""

from storyjax.plan.hlo_cost import program_cost

# A product of 8x16 and 16x4 (1,024 FLOPs) in a loop of 5 inside a loop of 3, as the TPU's compiler spells such things.
PROGRAM = """\
HloModule jit_f, is_scheduled=true

%slice_of (p.0: f32[5,8,16], p.1: s32[]) -> f32[8,16] {
  %p.0 = f32[5,8,16]{2,1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)S(6)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %cut = f32[1,8,16]{2,1,0:T(8,128)} dynamic-slice(%p.0, %p.1, %zero, %zero), dynamic_slice_sizes={1,8,16}
  ROOT %flat = f32[8,16]{1,0:T(8,128)S(1)} bitcast(%cut)
}

%inner_body (i: (s32[], f32[5,8,16], f32[16,4])) -> (s32[], f32[5,8,16], f32[16,4]) {
  %i = (s32[]{:T(128)}, f32[5,8,16]{2,1,0:T(8,128)}, f32[16,4]{1,0:T(8,128)S(1)}) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%i), index=0
  %all = f32[5,8,16]{2,1,0:T(8,128)} get-tuple-element(%i), index=1
  %kernel = f32[16,4]{1,0:T(8,128)S(1)} get-tuple-element(%i), index=2
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%count, %one)
  %slice.1 = f32[8,16]{1,0:T(8,128)S(1)} fusion(%all, %count), kind=kLoop, calls=%slice_of
  %product = f32[8,4]{1,0:T(8,128)} convolution(%slice.1, %kernel), dim_labels=bf_io->bf
  ROOT %out = (s32[], /*index=1*/f32[5,8,16]{2,1,0}, f32[16,4]{1,0}) tuple(%next, %all, %kernel)
}

%inner_condition (c: (s32[], f32[5,8,16], f32[16,4])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[5,8,16]{2,1,0:T(8,128)}, f32[16,4]{1,0:T(8,128)S(1)}) parameter(0)
  %at = s32[]{:T(128)} get-tuple-element(%c), index=0
  %end = s32[]{:T(128)} constant(5)
  ROOT %less = pred[]{:T(512)} compare(%at, %end), direction=LT
}

%outer_body (o: (s32[], f32[5,8,16], f32[16,4])) -> (s32[], f32[5,8,16], f32[16,4]) {
  %o = (s32[]{:T(128)}, f32[5,8,16]{2,1,0:T(8,128)}, f32[16,4]{1,0:T(8,128)S(1)}) parameter(0)
  %zero.1 = s32[]{:T(128)} constant(0)
  %start = s32[]{:T(128)} copy(%zero.1)
  %a = f32[5,8,16]{2,1,0:T(8,128)} get-tuple-element(%o), index=1
  %k = f32[16,4]{1,0:T(8,128)S(1)} get-tuple-element(%o), index=2
  %t = (s32[], f32[5,8,16]{2,1,0}, f32[16,4]{1,0}) tuple(%start, %a, %k)
  ROOT %loop = (s32[], f32[5,8,16], f32[16,4]) while(%t), condition=%inner_condition, body=%inner_body
}

%outer_condition (d: (s32[], f32[5,8,16], f32[16,4])) -> pred[] {
  %d = (s32[]{:T(128)}, f32[5,8,16]{2,1,0:T(8,128)}, f32[16,4]{1,0:T(8,128)S(1)}) parameter(0)
  %at.1 = s32[]{:T(128)} get-tuple-element(%d), index=0
  %end.1 = s32[]{:T(128)} constant(END)
  ROOT %less.1 = pred[]{:T(512)} compare(%at.1, %end.1), direction=LT
}

ENTRY %main (x: f32[5,8,16], w: f32[16,4]) -> (s32[], f32[5,8,16], f32[16,4]) {
  %x = f32[5,8,16]{2,1,0:T(8,128)} parameter(0)
  %w = f32[16,4]{1,0:T(8,128)S(1)} parameter(1)
  %begin = s32[]{:T(128)} constant(1)
  %all.1 = (s32[], f32[5,8,16]{2,1,0}, f32[16,4]{1,0}) tuple(%begin, %x, %w)
  ROOT %loop.1 = (s32[], f32[5,8,16], f32[16,4]) while(%all.1), condition=%outer_condition, body=%outer_body
}
"""


def test_loops_in_loops_count_as_often_as_they_run():
    cost = program_cost(PROGRAM.replace("END", "4"))
    assert cost.flops == 3 * 5 * (2 * 8 * 16 * 4)
    # Each time: the slice of 8x16 is read (not all five), the product of 8x4 is written; the kernel is on the chip. The
    # counter is read twice, a one is added to it; each outer loop copies a zero.
    assert cost.bytes == 3 * (5 * (4 * 8 * 16 + 4 * 8 * 4 + 4 + 4 + 4) + 8)
    assert cost.unknown_loops == 0


def test_a_loop_of_unknown_length_is_told():
    cost = program_cost(PROGRAM.replace("constant(END)", "parameter(1)"))
    assert (cost.flops, cost.unknown_loops) == (5 * 1024, 1)


def test_convolutions_count_what_meets_the_input():
    line = (
        "ENTRY %main (x: f32[2,6,3], k: f32[3,3,5]) -> f32[2,6,5] {\n"
        "  %x = f32[2,6,3]{2,1,0} parameter(0)\n"
        "  %k = f32[3,3,5]{2,1,0} parameter(1)\n"
        "  ROOT %y = f32[2,6,5]{2,1,0} convolution(%x, %k), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f\n"
        "}\n"
    )
    # Each end of the six places has one neighbour less: 16 pairs rather than 18.
    assert program_cost(line).flops == 2 * 2 * 3 * 5 * 16
