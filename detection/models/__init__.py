"""The networks: one file each, all on the same backbone, none of which ever downloads anything."""
