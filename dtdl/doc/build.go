package doc

import (
	"slices"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
)

type builder struct {
	page    *page
	units   map[string]*unit
	schemas map[string]*named // all schemas with identifiers of their own
	used    map[string][]use  // by identifier of an interface or a named schema
	heirs   map[string][]ref
	at      use // the content that is being described; none while inherited ones are
}

// collect finds what others refer to.
func (b *builder) collect(all []*dtdl.Interface) {
	for _, i := range all {
		for _, base := range i.Extends() {
			b.heirs[base.ID()] = append(b.heirs[base.ID()], b.page.ref(i.ID()))
		}
	}
	var schemas []*dtdl.Schema
	for _, e := range b.page.set.Entities() {
		if s, ok := e.(*dtdl.Schema); ok && s.Kind().Complex() && !s.Assigned() {
			schemas = append(schemas, s)
			b.schemas[s.ID()] = &named{ref: ref{s.ID(), lastLabel(s.ID()), true}, Title: s.DisplayName().String(), Description: s.Description().String(), Comment: s.Comment()}
		}
	}
	for _, s := range schemas {
		n := b.schemas[s.ID()]
		b.at = use{Of: n.ref, Anchor: s.ID()}
		n.Schema = b.parts(s)
		b.page.Schemas = append(b.page.Schemas, n)
	}
}

func (b *builder) iface(i *dtdl.Interface, counts map[string]int) *iface {
	v := &iface{ref: b.page.ref(i.ID()), Title: title(i, lastLabel(i.ID())), Description: i.Description().String(), Comment: i.Comment(), Version: i.Version(), Types: i.CoTypes(), Heirs: b.heirs[i.ID()]}
	search := []string{i.ID(), v.Title}
	for _, base := range i.Extends() {
		v.Extends = append(v.Extends, b.page.ref(base.ID()))
	}
	for _, a := range ancestors(i) {
		v.Ancestors = append(v.Ancestors, b.page.ref(a.ID()))
	}
	for _, s := range i.Schemas() {
		if n, ok := b.schemas[s.ID()]; ok {
			v.Schemas = append(v.Schemas, n.ref)
		}
	}
	for _, c := range classes {
		k := kind{Title: c.title, Class: c.class}
		var from []string
		rows := map[string][]row{}
		for _, x := range i.Contents() {
			if x.Class() != c.class {
				continue
			}
			if x.DefinedIn() == i {
				b.at = use{Of: v.ref, What: x.Name(), Anchor: i.ID() + "/" + x.Name()}
				r := b.content(x)
				r.Anchor = b.at.Anchor
				k.Own = append(k.Own, r)
				counts[c.class]++
				v.Own++
				search = append(search, x.Name())
				continue
			}
			b.at = use{}
			id := x.DefinedIn().ID()
			if rows[id] == nil {
				from = append(from, id)
			}
			rows[id] = append(rows[id], b.content(x))
			k.Count++
			v.Inherited++
		}
		for _, id := range from {
			k.Inherited = append(k.Inherited, heritage{b.page.ref(id), rows[id]})
		}
		if len(k.Own)+k.Count > 0 {
			v.Kinds = append(v.Kinds, k)
		}
	}
	v.Search = strings.ToLower(strings.Join(search, " "))
	return v
}

// ancestors returns all that an interface extends, the nearest first.
func ancestors(i *dtdl.Interface) []*dtdl.Interface {
	list := i.Extends()
	for n := 0; n < len(list); n++ {
		for _, base := range list[n].Extends() {
			if !slices.Contains(list, base) {
				list = append(list, base)
			}
		}
	}
	return list
}

func title(e dtdl.Entity, otherwise string) string {
	if t := e.DisplayName().String(); t != "" {
		return t
	}
	return otherwise
}

func (b *builder) uses(id string) {
	if b.at.Anchor == "" || slices.ContainsFunc(b.used[id], func(u use) bool { return u == b.at }) {
		return
	}
	b.used[id] = append(b.used[id], b.at)
}

// basics are what all elements with a name have.
func (b *builder) basics(e dtdl.Entity, name string) row {
	r := row{Name: name, Title: title(e, ""), Description: e.Description().String(), Comment: e.Comment(), Quantity: e.SemanticType()}
	if strings.EqualFold(r.Title, name) {
		r.Title = ""
	}
	for _, t := range e.CoTypes() {
		if t != r.Quantity && t != "Required" {
			r.Flags = append(r.Flags, t)
		}
	}
	if name := e.Unit(); name != "" {
		r.Unit = b.unit(e)
	}
	return r
}

func (b *builder) unit(e dtdl.Entity) *unit {
	name := e.Unit()
	u, ok := b.units[name]
	if !ok {
		u = &unit{Name: name, Symbol: name, Anchor: "unit/" + name}
		if info, ok := e.UnitInfo(); ok {
			u.Kind = info.Kind()
			if info.Symbol() != "" {
				u.Symbol = info.Symbol()
			}
		}
		b.units[name] = u
	}
	if b.at.Anchor != "" && !slices.Contains(u.UsedBy, b.at) {
		u.UsedBy = append(u.UsedBy, b.at)
	}
	return u
}

func (b *builder) content(c dtdl.Content) row {
	r := b.basics(c, c.Name())
	switch x := c.(type) {
	case *dtdl.Property:
		b.property(&r, x)
	case *dtdl.Telemetry:
		r.Schema = b.schema(x.Schema())
	case *dtdl.Command:
		r.Request, r.Response = b.payload(x.Request()), b.payload(x.Response())
	case *dtdl.Relationship:
		if x.Target() != "" {
			to := b.page.ref(x.Target())
			r.Target = &to
			b.uses(x.Target())
		}
		r.Links = multiplicity(x)
		if x.Writable() {
			r.Flags = append(r.Flags, "writable")
		}
		for _, p := range x.Properties() {
			of := b.basics(p, p.Name())
			b.property(&of, p)
			r.Properties = append(r.Properties, of)
		}
	case *dtdl.Component:
		if s := x.Schema(); s != nil {
			to := b.page.ref(s.ID())
			r.Target = &to
			b.uses(s.ID())
		}
	}
	return r
}

func (b *builder) property(r *row, p *dtdl.Property) {
	r.Schema = b.schema(p.Schema())
	if p.Writable() {
		r.Flags = append(r.Flags, "writable")
	}
	if p.Required() {
		r.Flags = append(r.Flags, "required")
	}
}

func (b *builder) payload(p *dtdl.Payload) *payload {
	if p == nil {
		return nil
	}
	v := &payload{row: b.basics(p, p.Name()), Nullable: p.Nullable()}
	v.Schema = b.schema(p.Schema())
	return v
}

// schema describes a type; a named one by a link, so that one that contains itself ends.
func (b *builder) schema(s *dtdl.Schema) *schema {
	if s == nil || s.Kind() == 0 {
		return &schema{Text: "not in the set"}
	}
	if n, ok := b.schemas[s.ID()]; ok && !s.Assigned() {
		b.uses(s.ID())
		return &schema{Text: n.Name, Ref: &n.ref}
	}
	return b.parts(s)
}

func (b *builder) parts(s *dtdl.Schema) *schema {
	v := &schema{Text: s.Kind().String()}
	switch s.Kind() {
	case dtdl.Array:
		v.Text, v.Elem = "array of", b.schema(s.Elem())
	case dtdl.Map:
		v.Text, v.Key, v.Elem = "map of", b.schema(s.MapKey().Schema()), b.schema(s.MapValue().Schema())
	case dtdl.Enum:
		v.Text = "enum of " + s.EnumKind().String()
		for i, all := 0, s.EnumValues(); i < len(all); i++ {
			e := &all[i]
			x := enumValue{Name: e.Name(), Value: e.Text(), Description: e.Description().String()}
			if s.EnumKind() == dtdl.Integer {
				x.Value = strconv.Itoa(int(e.Int()))
			}
			if x.Description == "" {
				x.Description = e.DisplayName().String()
			}
			if x.Description == x.Name {
				x.Description = ""
			}
			v.Values = append(v.Values, x)
		}
	case dtdl.Object:
		v.Text = "object"
		for i, all := 0, s.Fields(); i < len(all); i++ {
			f := &all[i]
			r := b.basics(f, f.Name())
			r.Schema = b.schema(f.Schema())
			if f.Required() {
				r.Flags = append(r.Flags, "required")
			}
			v.Fields = append(v.Fields, r)
		}
	}
	return v
}
