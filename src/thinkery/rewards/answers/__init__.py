"""What a completion answers and whether it is the reference: reading, normal forms, numbers, computer algebra."""
