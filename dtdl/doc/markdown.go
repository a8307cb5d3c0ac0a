package doc

import (
	"bytes"
	"fmt"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
)

// Markdown returns the page of a set as Markdown (CommonMark with tables): an overview, and of each interface its own
// contents and the names of those that it inherits. The same set and options give the same bytes.
// Error: TooLarge if the interfaces have more than MaxContents contents.
func Markdown(set *dtdl.Set, o Options) ([]byte, error) {
	p, err := build(set, o)
	if err != nil {
		return nil, err
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, "# %s\n\n", mark(p.Title))
	if p.Intro != "" {
		fmt.Fprintf(&w, "%s\n\n", mark(p.Intro))
	}
	w.WriteString("| interface | extends | contents, own and inherited | what it is |\n|---|---|---|---|\n")
	for _, i := range p.Interfaces {
		fmt.Fprintf(&w, "| [%s](#%s) | %s | %d + %d | %s |\n", mark(i.Name), slug(i.Name), p.links(i.Extends), i.Own, i.Inherited, mark(i.Description))
	}
	for _, i := range p.Interfaces {
		p.section(&w, i)
	}
	if len(p.Schemas) > 0 {
		w.WriteString("\n## Schemas\n")
		for _, s := range p.Schemas {
			fmt.Fprintf(&w, "\n### %s\n\n`%s`: %s.", mark(s.Name), s.ID, words(s.Schema))
			if s.Description != "" {
				fmt.Fprintf(&w, " %s", mark(s.Description))
			}
			w.WriteString("\n")
			for _, v := range s.Schema.Values {
				fmt.Fprintf(&w, "* `%s`", v.Name)
				if v.Value != v.Name {
					fmt.Fprintf(&w, " (`%s`)", code(v.Value))
				}
				if v.Description != "" {
					fmt.Fprintf(&w, ": %s", mark(v.Description))
				}
				w.WriteString("\n")
			}
		}
	}
	return w.Bytes(), nil
}

func (p *page) section(w *bytes.Buffer, i *iface) {
	fmt.Fprintf(w, "\n## %s\n\n`%s`, DTDL v%d", mark(i.Name), i.ID, i.Version)
	if len(i.Extends) > 0 {
		fmt.Fprintf(w, ", extends %s", p.links(i.Extends))
	}
	if len(i.Heirs) > 0 {
		fmt.Fprintf(w, ", extended by %s", p.links(i.Heirs))
	}
	fmt.Fprintf(w, ". %s\n", mark(i.Description))
	if i.Comment != "" {
		fmt.Fprintf(w, "\n> %s\n", mark(i.Comment))
	}
	if i.Own > 0 {
		w.WriteString("\n| | name | type | |\n|---|---|---|---|\n")
	}
	for _, k := range i.Kinds {
		for _, r := range k.Own {
			fmt.Fprintf(w, "| %s | `%s` | %s | %s |\n", k.Class, r.Name, p.typed(r), mark(r.Description))
		}
	}
	for _, a := range i.Ancestors {
		var names []string
		for _, k := range i.Kinds {
			for _, h := range k.Inherited {
				for _, r := range h.Rows {
					if h.From.ID == a.ID {
						names = append(names, "`"+r.Name+"`")
					}
				}
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(w, "\nFrom %s: %s.\n", p.links([]ref{a}), strings.Join(names, ", "))
		}
	}
}

// typed says the type of a content in a cell of a table.
func (p *page) typed(r row) string {
	var parts []string
	if r.Schema != nil {
		parts = append(parts, words(r.Schema))
	}
	if r.Unit != nil {
		parts = append(parts, mark(r.Unit.Symbol))
	}
	if r.Target != nil {
		parts = append(parts, "to "+p.links([]ref{*r.Target}))
	} else if r.Links != "" {
		parts = append(parts, "to any interface")
	}
	if r.Links != "" {
		parts = append(parts, r.Links)
	}
	for _, l := range []struct {
		name string
		of   *payload
	}{{"request", r.Request}, {"response", r.Response}} {
		if l.of != nil {
			parts = append(parts, l.name+" "+words(l.of.Schema))
		}
	}
	for _, f := range r.Flags {
		parts = append(parts, mark(f))
	}
	return strings.Join(parts, ", ")
}

// words says a type in one line.
func words(s *schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != nil:
		return fmt.Sprintf("[%s](#%s)", mark(s.Text), slug(s.Text))
	case len(s.Fields) > 0:
		var names []string
		for _, f := range s.Fields {
			name := "`" + f.Name + "` " + words(f.Schema)
			if f.Unit != nil {
				name += " " + mark(f.Unit.Symbol)
			}
			names = append(names, name)
		}
		return "object of " + strings.Join(names, ", ")
	case len(s.Values) > 0:
		var names []string
		for _, v := range s.Values {
			names = append(names, "`"+code(v.Value)+"`")
		}
		return "one of " + strings.Join(names, ", ")
	case s.Key != nil:
		return "map of " + words(s.Elem)
	case s.Elem != nil:
		return "array of " + words(s.Elem)
	}
	return s.Text
}

func (p *page) links(refs []ref) string {
	var out []string
	for _, r := range refs {
		if r.Here {
			out = append(out, fmt.Sprintf("[%s](#%s)", mark(r.Name), slug(r.Name)))
		} else {
			out = append(out, "`"+r.Name+"`")
		}
	}
	return strings.Join(out, ", ")
}

// slug is the anchor that hosts of repositories give to a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, heading)
}

var marks = strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "#", `\#`, "\r", " ", "\n", " ", "~", `\~`, "!", `\!`)

// mark escapes text of a model, on one line.
func mark(s string) string { return marks.Replace(s) }

// code makes a value fit for a span of code in a table.
func code(s string) string {
	return strings.NewReplacer("`", "'", "|", `\|`, "\r", " ", "\n", " ").Replace(s)
}
