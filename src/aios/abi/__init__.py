"""The contract both sides of the kernel know: data only, no behaviour beyond checking itself."""
