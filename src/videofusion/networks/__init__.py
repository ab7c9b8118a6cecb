"""Networks: tensors in, tensors out; they know no noise, no guidance, no loss and no file."""
