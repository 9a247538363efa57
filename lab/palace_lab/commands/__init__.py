"""The commands of `palace-lab`, one file each."""
