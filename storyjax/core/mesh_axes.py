"""Names of the device mesh's axes, which layers need to know as well as the loop; train/mesh.py says what each is for."""

AXES = ("data", "fsdp", "seq")
BATCH_AXES = ("data", "fsdp")
SEQUENCE_AXIS = "seq"
