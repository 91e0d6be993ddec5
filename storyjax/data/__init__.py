"""From official files on disk to batches on the host."""
