"""The plain face: questions and answers in lines, for a serial line and a screen reader."""
