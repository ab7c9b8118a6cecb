"""What turns a user's input into tensors."""
