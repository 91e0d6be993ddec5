"""What a run takes of a TPU slice, measured by the TPU compiler on a machine without one."""
