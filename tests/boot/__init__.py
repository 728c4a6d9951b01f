"""Boot tests: the media and a machine under test, in QEMU; success only by tokens from inside."""
