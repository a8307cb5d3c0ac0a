package dtdl

import (
	"fmt"
	"strconv"
)

// iface reads an interface, at the top of a document or inside another interface, and enters its draft. It
// returns the identifier, empty if there is none to refer to.
func (b *builder) iface(n *node) string {
	b.d = &draft{Interface: &Interface{}, src: b.src, at: n.start, local: make(map[string]*Schema), places: make(map[string]place)}
	if id := n.get("@id"); id != nil && id.kind == '"' {
		b.path = clip(id.text)
	}
	if n.dialect == nil {
		b.unread = true
		return ""
	}
	b.d.dialect = *n.dialect
	e, _, ok := b.element(n, "", true, "Interface")
	if !ok {
		b.unread = true
		return ""
	}
	if e.id == "" {
		b.unread = true
		if n.get("@id") == nil {
			b.fail(n.start, "missingId", "@id", "the interface has no identifier", "an identifier such as dtmi:com:example:Pump;1", "")
		}
	}
	b.d.Element = e
	b.d.version = n.dialect.version
	inner := b.interfaces(n)
	if limit := n.dialect.limits.interfaceLen; limit > 0 && n.end-n.start-inner > limit {
		b.fail(n.start, "interfaceTooLarge", "", fmt.Sprintf("the interface has %d bytes", n.end-n.start-inner), fmt.Sprintf("at most %d", limit), "")
	}
	if e.id == "" {
		return ""
	}
	b.drafts[e.id] = b.d
	b.order = append(b.order, b.d)
	return e.id
}

// interfaces reads the parts of an interface and returns how many bytes the interfaces written in it take.
func (b *builder) interfaces(n *node) (inner int) {
	l := n.dialect.limits
	if v := n.get("extends"); v != nil {
		items := v.list()
		b.atMost(v, "extends", len(items), l.extends)
		for _, item := range items {
			id, size := b.interfaceRef(item, "extends")
			inner += size
			if id != "" {
				b.d.bases = append(b.d.bases, reference{id, item.start})
			}
		}
	}
	if v := n.get("schemas"); v != nil {
		for _, item := range v.list() {
			b.reusable(item)
		}
	}
	if v := n.get("contents"); v != nil {
		items := v.list()
		b.atMost(v, "contents", len(items), l.contents)
		for _, item := range items {
			inner += b.contentOf(item)
		}
	}
	return inner
}

func (b *builder) atMost(n *node, property string, count, limit int) {
	if limit > 0 && count > limit {
		b.fail(n.start, "tooMany", property, fmt.Sprintf("there are %d", count), fmt.Sprintf("at most %d", limit), "")
	}
}

// interfaceRef reads an identifier, or an interface written in place, whose size it returns.
func (b *builder) interfaceRef(n *node, property string) (id string, size int) {
	if ref, ok := asReference(n); ok {
		id, _ = b.identifier(ref, property, ref.dialect.limits.interfaceID)
		return id, 0
	}
	if n = single(n); n.kind != '{' {
		b.fail(n.start, "notInterface", property, "found "+n.what(), "the identifier of an interface, or an interface", "")
		return "", 0
	}
	in := builder{parser: b.parser, src: b.src}
	return in.iface(n), n.end - n.start
}

// asReference returns the string of "dtmi:…" or of {"@id": "dtmi:…"}.
func asReference(n *node) (*node, bool) {
	n = single(n)
	if n.dialect == nil {
		return n, false
	}
	if n.kind == '{' && len(n.members) == 1 && n.members[0].key == "@id" {
		n = n.members[0].value
	}
	return n, n.kind == '"'
}

func (b *builder) contentOf(n *node) (inner int) {
	e, class, ok := b.element(n, "contents", true, "Telemetry", "Property", "Command", "Relationship", "Component")
	if !ok {
		return 0
	}
	c := named{Element: e, name: b.name(n), owner: b.d.Interface}
	defer b.within(c.name)()
	b.d.elements++
	var content Content
	switch class {
	case "Telemetry":
		t := &Telemetry{named: c}
		b.rootSchema(n, &t.schema, false)
		b.measured(n, &e, &t.schema)
		content = t
	case "Property":
		p := b.property(n, c)
		b.rootSchema(n, &p.schema, true)
		b.measured(n, &e, &p.schema)
		content = p
	case "Command":
		content = b.command(n, c)
	case "Relationship":
		content = b.relationship(n, c)
	case "Component":
		p := &Component{named: c}
		v := n.get("schema")
		if v == nil {
			b.fail(n.start, "missingSchema", "schema", "the component has no schema", "the identifier of an interface", "")
			return 0
		}
		var id string
		if id, inner = b.interfaceRef(v, "schema"); id != "" {
			b.d.parts = append(b.d.parts, partReference{reference{id, v.start}, p})
		}
		content = p
	}
	if c.name == "" {
		return inner
	}
	if _, twice := b.d.places[c.name]; twice {
		b.fail(n.start, "duplicateName", "name", "the interface has two contents of the name "+strconv.Quote(c.name), "a unique name", "")
		return inner
	}
	b.d.places[c.name] = place{b.src, n.start}
	b.d.own = append(b.d.own, content)
	return inner
}

func (b *builder) property(n *node, c named) *Property {
	return &Property{named: c, writable: b.boolean(n, "writable")}
}

func (b *builder) command(n *node, c named) *Command {
	if v := n.get("commandType"); v != nil {
		t, ok := b.text(v, "commandType", MaxDTMI)
		if t = n.dialect.term("dtmi:dtdl:instance:CommandType:", t); ok && t != "synchronous" && t != "asynchronous" {
			b.fail(v.start, "badCommandType", "commandType", strconv.QuoteToASCII(clip(t))+" is not a command type", "synchronous or asynchronous", "leave it out: it is deprecated")
		}
	}
	return &Command{named: c, request: b.payload(n, "request", "CommandRequest"), response: b.payload(n, "response", "CommandResponse")}
}

func (b *builder) payload(n *node, role, class string) *Payload {
	v := n.get(role)
	if v == nil {
		return nil
	}
	v = single(v)
	if n.dialect.version == 2 {
		class = "CommandPayload"
	}
	e, _, ok := b.element(v, role, false, class)
	if !ok {
		return nil
	}
	p := &Payload{Element: e, name: b.name(v), role: role, nullable: b.boolean(v, "nullable")}
	b.d.elements++
	defer b.within(role)()
	b.rootSchema(v, &p.schema, false)
	b.measured(v, &e, &p.schema)
	return p
}

func (b *builder) relationship(n *node, c named) *Relationship {
	r := &Relationship{named: c, writable: b.boolean(n, "writable")}
	l := n.dialect.limits
	if v := n.get("target"); v != nil {
		if ref, ok := asReference(v); ok {
			v = ref
		}
		r.target, _ = b.identifier(v, "target", MaxUserDTMI)
	}
	if least, ok := b.whole(n, "minMultiplicity"); ok && least != 0 {
		b.fail(n.get("minMultiplicity").start, "badMultiplicity", "minMultiplicity", fmt.Sprintf("it is %d", least), "0", "leave it out")
	}
	if most, ok := b.whole(n, "maxMultiplicity"); ok {
		r.max = most
		if most < 1 || l.multiplicity > 0 && most > l.multiplicity {
			b.fail(n.get("maxMultiplicity").start, "badMultiplicity", "maxMultiplicity", fmt.Sprintf("it is %d", most), "a number from 1 on, in DTDL v2 at most 500", "")
		}
	}
	v := n.get("properties")
	if v == nil {
		return r
	}
	items := v.list()
	b.atMost(v, "properties", len(items), l.properties)
	for _, item := range items {
		e, _, ok := b.element(item, "properties", true, "Property")
		if !ok {
			continue
		}
		p := b.property(item, named{Element: e, name: b.name(item), owner: b.d.Interface})
		b.d.elements++
		if _, twice := r.Property(p.name); twice {
			b.fail(item.start, "duplicateName", "name", "the relationship has two properties of the name "+strconv.Quote(p.name), "a unique name", "")
			continue
		}
		restore := b.within(p.name)
		b.rootSchema(item, &p.schema, true)
		b.measured(item, &e, &p.schema)
		restore()
		r.properties = append(r.properties, p)
	}
	return r
}
