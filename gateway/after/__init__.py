"""What happens once an answer has been given: nothing here can slow or change one."""
