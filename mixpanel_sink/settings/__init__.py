"""What a user says, as frozen objects. No Beam, and no input or output."""
