"""What a conversation was worth: pictures and figures."""
