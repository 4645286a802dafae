package types

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A text names a built-in type where it is one, or has one between the separators of commands, keys, paths and flags. An identifier
// does where it has one as a word of its own.
var (
	namesInText       = regexp.MustCompile(`(?:^|[_#/{"-])(?:user|order)s?(?:$|[_#/}"-])`)
	namesInIdentifier = regexp.MustCompile(`^(?:put|delete|list|get|of)?(?:[uU]ser|[oO]rder)s?(?:ID|Name|Email|Amount|Type|Prefix|Attribute)$|^(?:Put|Delete)(?:User|Order)|OrdersByUser`)
)

// allowed are the files that may name the built-in types.
var allowed = map[string]bool{
	"cmd/producer/aliases.go":            true, // the commands put-user and so on
	"cmd/producer/main.go":               true, // lists them
	"internal/send/generator/builtin.go": true, // the values that a seed has always made
}

// TestNoTypeIsNamed: everything follows from the declaration, so no program and no package knows a type by name.
func TestNoTypeIsNamed(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	for _, folder := range []string{"cmd", "internal", "localstack"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, _ := filepath.Rel(root, path)
			if allowed[filepath.ToSlash(name)] {
				return nil
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ImportSpec:
					return false
				case *ast.BasicLit:
					text, err := strconv.Unquote(n.Value)
					if err == nil && n.Kind == token.STRING && namesInText.MatchString(text) {
						t.Errorf("%s has the text %s", set.Position(n.Pos()), n.Value)
					}
				case *ast.Ident:
					if namesInIdentifier.MatchString(n.Name) {
						t.Errorf("%s has the name %s", set.Position(n.Pos()), n.Name)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were searched", files)
	}
}
