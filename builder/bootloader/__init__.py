"""The boot menu, the BIOS boot image and the EFI system partition with the Secure Boot chain."""
