"""Names of the device mesh's axes, which layers must know as the loop does; train/mesh.py says what each is for."""

AXES = ("data", "fsdp", "seq")
BATCH_AXES = ("data", "fsdp")
SEQUENCE_AXIS = "seq"
