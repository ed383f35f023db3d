"""The Protocols that services depend on and adapters implement, and the one error tree between them."""
