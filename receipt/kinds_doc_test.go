package receipt

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/receipts.md")

const kindsDoc = "../docs/receipts.md"

// subjectForms is how the names that the subject functions make look.
var subjectForms = map[string]string{
	"CommandSubject": "command/<id>", "TwinSubject": "twin/<id>", "DomainSubject": "domain/<domain>", "HaltSubject": "halt/<domain>",
	"TelemetrySubject": "telemetry/<domain>", "NodeSubject": "node/<principal>", "OperatorSubject": "operator/<principal>",
	"CapabilitySubject": "capability/<digest of the block>", "AnchorSubject": "anchor/<target>", "KeySubject": "key/<domain>", "RenewalSubject": "renewal/<domain>",
	"WitnessSubject": "witness/<domain>", "StateSubject": "state/<domain>", "PrivateSubject": "private/<principal>",
}

// docs/receipts.md is what the comments of the code say.
func TestReceiptsDoc(t *testing.T) {
	want := generateKindsDoc(t)
	if *update {
		if err := os.WriteFile(kindsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(kindsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s does not say what the code says: run go test ./receipt -run TestReceiptsDoc -update", kindsDoc)
	}
}

// source is what the doc needs of the package's files.
type source struct {
	kinds map[string]string // value of a kind to its comment
	types map[string]*ast.StructType
	docs  map[string]string // comment of a type
}

func readSource(t *testing.T) source {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	s := source{map[string]string{}, map[string]*ast.StructType{}, map[string]string{}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					if value, ok := literal(spec); ok && name == "kinds.go" && g.Tok == token.CONST {
						s.kinds[value] = strings.TrimSpace(spec.Comment.Text())
					}
				case *ast.TypeSpec:
					if st, ok := spec.Type.(*ast.StructType); ok {
						s.types[spec.Name.Name] = st
						s.docs[spec.Name.Name] = strings.Join(strings.Fields(g.Doc.Text()), " ")
					}
				}
			}
		}
	}
	return s
}

func literal(spec *ast.ValueSpec) (string, bool) {
	if len(spec.Values) != 1 {
		return "", false
	}
	l, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	return strings.Trim(l.Value, `"`), true
}

func generateKindsDoc(t *testing.T) string {
	t.Helper()
	s := readSource(t)
	var b strings.Builder
	b.WriteString("# Receipts\n\n<!-- Generated from the comments in receipt/ by go test ./receipt -run TestReceiptsDoc -update; do not edit. -->\n\n")
	b.WriteString("The closed set of kinds, by scroll. A receipt of every kind is an in-toto Statement with the predicate type `" + PredicateType + "`; its body is described below.\n")
	b.WriteString("*Signed* says whether the envelope must carry a signature of its own; every receipt is covered by the checkpoint. *Excerpt* says whether a bundle may show a part of the subject's chain.\n\n")
	var bodies []string
	for _, scroll := range Scrolls() {
		fmt.Fprintf(&b, "## Scroll %s\n\n%s.\n\n| kind | subject | body | signed | excerpt |\n|---|---|---|---|---|\n", scroll.Name, sentence(scroll.About))
		for _, kind := range ScrollKinds(scroll.Name) {
			comment, ok := s.kinds[kind]
			if !ok {
				t.Fatalf("kinds.go has no constant for %s", kind)
			}
			body, rest, found := strings.Cut(comment, ";")
			subject, _, _ := strings.Cut(strings.TrimSpace(rest), ".")
			if _, command := CommandState(kind); command && !found {
				body, subject = comment, "CommandSubject"
			}
			form, ok := subjectForms[subject]
			if !ok || s.types[body] == nil {
				t.Fatalf("%s: its comment %q names no body and subject that are known here", kind, comment)
			}
			if !slices.Contains(bodies, body) {
				bodies = append(bodies, body)
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | [%s](#%s) | %s | %s |\n", kind, form, body, strings.ToLower(body), yes(!kinds[kind].unsigned), yes(kinds[kind].stream))
		}
		b.WriteString("\n")
	}
	b.WriteString("## Bodies\n\nA member is left out where it says \"optional\" and is empty. Digests are `sha256:` and 64 hexadecimal digits, times are RFC 3339 in UTC with microseconds, 64-bit integers are strings of decimal digits, bytes are base64.\n\n")
	for i := 0; i < len(bodies); i++ { // grows by the types that bodies refer to
		name := bodies[i]
		fmt.Fprintf(&b, "### %s\n\n%s\n\n| member | type | |\n|---|---|---|\n", name, s.docs[name])
		s.members(&b, name, func(other string) {
			if !slices.Contains(bodies, other) {
				bodies = append(bodies, other)
			}
		})
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// members writes a line for each member, those of embedded types first.
func (s source) members(b *strings.Builder, name string, uses func(string)) {
	for _, f := range s.types[name].Fields.List {
		if len(f.Names) == 0 {
			if id, ok := f.Type.(*ast.Ident); ok && s.types[id.Name] != nil {
				s.members(b, id.Name, uses)
			}
			continue
		}
		tag := ""
		if f.Tag != nil {
			tag = reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
		}
		member, options, _ := strings.Cut(tag, ",")
		if member == "" || member == "-" {
			continue
		}
		shape := s.shape(f.Type, uses)
		if strings.Contains(options, "string") {
			shape = "integer as a string"
		}
		if strings.Contains(options, "omit") {
			shape += ", optional"
		}
		comment := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", member, shape, strings.ReplaceAll(comment, "|", "\\|"))
	}
}

// shape names a Go type as its JSON form.
func (s source) shape(e ast.Expr, uses func(string)) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return s.shape(e.X, uses)
	case *ast.ArrayType:
		if id, ok := e.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return "bytes"
		}
		return "array of " + s.shape(e.Elt, uses)
	case *ast.MapType:
		return "object of " + s.shape(e.Value, uses)
	case *ast.SelectorExpr:
		switch e.Sel.Name {
		case "Digest":
			return "digest"
		case "Time":
			return "time"
		case "RawMessage":
			return "JSON"
		case "LogIndex":
			return "log index"
		}
		return "identifier"
	case *ast.Ident:
		switch e.Name {
		case "string":
			return "text"
		case "bool":
			return "boolean"
		case "float64", "int", "int64", "uint64":
			return "number"
		}
		if s.types[e.Name] != nil {
			uses(e.Name)
			return "[" + e.Name + "](#" + strings.ToLower(e.Name) + ")"
		}
		return e.Name
	}
	return "?"
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return ""
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
