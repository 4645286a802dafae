package schema

// Nearest returns the known name that a mistyped one is most likely meant for, at most two letters away, or "".
func Nearest(name string, known []string) string { return nearest(name, known) }
