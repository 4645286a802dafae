package schema

// File is the flag of the programs that names the file of the declaration. Programs embed it in their commands.
type File struct {
	Types string `name:"types" env:"TRIBUTARY_TYPES" placeholder:"FILE" help:"Entity types, as docs/types.md has them (default: user and order)."`
}

// Read returns the types of the file, or the built-in ones where no file is named. What is wrong with the file is an *Error.
func (f File) Read() (*Set, error) {
	if f.Types == "" {
		return Builtin(), nil
	}
	return ReadFile(f.Types)
}
