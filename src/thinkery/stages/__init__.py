"""The paper's steps, one file each, to be read next to the paper."""
