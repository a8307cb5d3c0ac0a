package diff

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
)

func (c *comparison) interfaces(old, now *dtdl.Interface) {
	c.at(now.ID(), "")
	if old.ID() != now.ID() {
		c.add(Noted, "@id", old.ID(), now.ID(), "the interface has another version", nobody("a twin keeps the model that it names"))
	}
	if old.Version() != now.Version() {
		c.add(Noted, "@context", fmt.Sprint(old.Version()), fmt.Sprint(now.Version()), "it is written in another version of DTDL", nobody("values are what they were"))
	}
	c.texts("", old, now)
	c.bases(old, now)
	for _, was := range old.Contents() {
		c.at(now.ID(), was.Class()+" "+was.Name())
		is, ok := now.Content(was.Name())
		switch {
		case !ok && c.goneFromBase(was, now):
			continue // said of the base
		case !ok:
			c.add(Removed, "", was.Class(), "", "it is gone"+inherited(was, old), both("what they read or write is not there"))
		case c.same(was.DefinedIn(), is.DefinedIn()) && was.DefinedIn() != old:
			continue // said of the base
		default:
			c.content(was, is)
		}
	}
	for _, is := range now.Contents() {
		if _, ok := old.Content(is.Name()); ok || is.DefinedIn() != now && c.newInBase(is, old) {
			continue
		}
		c.at(now.ID(), is.Class()+" "+is.Name())
		c.addition(is, inherited(is, now))
	}
	c.advise(old, now)
}

// reusable compares the schemas that an interface declares for others to use.
func (c *comparison) reusable(old, now *dtdl.Interface) {
	for _, s := range now.Schemas() {
		for _, was := range old.Schemas() {
			if versionless(was.ID()) == versionless(s.ID()) {
				c.at(now.ID(), "Schema "+s.ID())
				c.schema("", was, s)
			}
		}
	}
}

func inherited(x dtdl.Content, by *dtdl.Interface) string {
	if x.DefinedIn() == by {
		return ""
	}
	return ", which came from " + x.DefinedIn().ID()
}

// goneFromBase reports whether a content is gone because the base that both versions have has lost it.
func (c *comparison) goneFromBase(was dtdl.Content, now *dtdl.Interface) bool {
	base := c.pairs[was.DefinedIn().ID()]
	return base != nil && base != now && c.after.IsA(now.ID(), base.ID())
}

// newInBase reports whether a content is new because a base that both versions have has gained it.
func (c *comparison) newInBase(is dtdl.Content, old *dtdl.Interface) bool {
	base := c.origins[is.DefinedIn().ID()]
	return base != nil && base != old && c.before.IsA(old.ID(), base.ID())
}

func (c *comparison) addition(is dtdl.Content, from string) {
	if p, ok := is.(*dtdl.Property); ok && p.Required() {
		c.add(Added, "", "", is.Class(), "it is new and required"+from, writers("a twin without it is refused"))
		return
	}
	why := "who does not know it passes over it"
	if _, ok := is.(*dtdl.Command); ok {
		why = "who does not know it does not call it; twins must learn it before somebody does"
	}
	c.add(Added, "", "", is.Class(), "it is new"+from, nobody(why))
}

// bases compares what an interface extends.
func (c *comparison) bases(old, now *dtdl.Interface) {
	for _, base := range old.Extends() {
		is := c.pairs[base.ID()]
		if is == nil || !c.after.IsA(now.ID(), is.ID()) {
			c.add(Removed, "extends", base.ID(), "", "it does not extend "+base.ID()+" any more",
				both("relationships, components and queries that want a "+base.ID()+" do not take it"))
		}
	}
	for _, base := range now.Extends() {
		was := c.origins[base.ID()]
		if was == nil || !c.before.IsA(old.ID(), was.ID()) {
			c.add(Added, "extends", "", base.ID(), "it extends "+base.ID()+" now", nobody("it is what it was, and more; the contents that it gains are listed"))
		}
	}
}

func (c *comparison) content(was, is dtdl.Content) {
	if was.Class() != is.Class() {
		c.add(Changed, "", was.Class(), is.Class(), "it is another kind of content", both("a "+is.Class()+" is used otherwise than a "+was.Class()))
		return
	}
	c.texts("", was, is)
	switch now := is.(type) {
	case *dtdl.Property:
		c.property("", was.(*dtdl.Property), now)
	case *dtdl.Telemetry:
		c.meaning("", was, is)
		c.schema("schema", was.(*dtdl.Telemetry).Schema(), now.Schema())
	case *dtdl.Command:
		old := was.(*dtdl.Command)
		c.request(old.Request(), now.Request())
		c.response(old.Response(), now.Response())
	case *dtdl.Relationship:
		c.relationship(was.(*dtdl.Relationship), now)
	case *dtdl.Component:
		old := was.(*dtdl.Component)
		c.target("schema", idOf(old.Schema()), idOf(now.Schema()))
	}
}

func idOf(i *dtdl.Interface) string {
	if i == nil {
		return ""
	}
	return i.ID()
}

func (c *comparison) property(path string, old, now *dtdl.Property) {
	c.meaning(path, old, now)
	c.writable(path, old.Writable(), now.Writable())
	switch {
	case !old.Required() && now.Required():
		c.add(Narrowed, join(path, "required"), "false", "true", "it is required now", writers("what lacks it is refused"))
	case old.Required() && !now.Required():
		c.add(Widened, join(path, "required"), "true", "false", "it may be absent now", readers("they count on its presence"))
	}
	c.schema(join(path, "schema"), old.Schema(), now.Schema())
}

func (c *comparison) writable(path string, old, now bool) {
	switch {
	case old && !now:
		c.add(Narrowed, join(path, "writable"), "true", "false", "it cannot be set from outside any more", writers("who sets it is refused"))
	case !old && now:
		c.add(Widened, join(path, "writable"), "false", "true", "it can be set from outside now", nobody("its values are what they were"))
	}
}

func (c *comparison) request(old, now *dtdl.Payload) {
	switch {
	case old == nil && now == nil:
	case old == nil && now.Nullable():
		c.add(Widened, "request", "", "nullable", "it takes a request now, and goes without", nobody("callers that send none are served as before"))
	case old == nil:
		c.add(Narrowed, "request", "", schemaText(now.Schema()), "it wants a request now", writers("callers that send none are refused"))
	case now == nil:
		c.add(Removed, "request", schemaText(old.Schema()), "", "it takes no request any more", both("what callers send is not taken, and who carries it out gets nothing"))
	default:
		c.payload("request", old, now)
	}
}

func (c *comparison) response(old, now *dtdl.Payload) {
	switch {
	case old == nil && now == nil:
	case old == nil:
		c.add(Added, "response", "", schemaText(now.Schema()), "it answers with a response now", nobody("callers that expect none pass over it; twins must learn to give it"))
	case now == nil:
		c.add(Removed, "response", schemaText(old.Schema()), "", "it gives no response any more", both("callers wait for it, and who carries it out may not give it"))
	default:
		c.payload("response", old, now)
	}
}

func (c *comparison) payload(path string, old, now *dtdl.Payload) {
	c.texts(path, old, now)
	c.meaning(path, old, now)
	switch {
	case old.Nullable() && !now.Nullable():
		c.add(Narrowed, join(path, "nullable"), "true", "false", "it may not be left away any more", writers("who sends none is refused"))
	case !old.Nullable() && now.Nullable():
		c.add(Widened, join(path, "nullable"), "false", "true", "it may be left away now", readers("they count on its presence"))
	}
	c.schema(join(path, "schema"), old.Schema(), now.Schema())
}

func (c *comparison) relationship(old, now *dtdl.Relationship) {
	c.meaning("", old, now)
	c.writable("", old.Writable(), now.Writable())
	c.target("target", old.Target(), now.Target())
	least, most := old.Multiplicity()
	atLeast, atMost := now.Multiplicity()
	switch {
	case atLeast > least:
		c.add(Narrowed, "minMultiplicity", fmt.Sprint(least), fmt.Sprint(atLeast), "it needs more links", writers("a twin with fewer is refused"))
	case atLeast < least:
		c.add(Widened, "minMultiplicity", fmt.Sprint(least), fmt.Sprint(atLeast), "it needs fewer links", readers("they count on more"))
	}
	switch {
	case atMost != most && (most == 0 || atMost != 0 && atMost < most):
		c.add(Narrowed, "maxMultiplicity", limit(most), limit(atMost), "it may have fewer links", writers("further links are refused"))
	case atMost != most:
		c.add(Widened, "maxMultiplicity", limit(most), limit(atMost), "it may have more links", readers("they count on no more than before"))
	}
	for _, was := range old.Properties() {
		path := "properties/" + was.Name()
		if is, ok := now.Property(was.Name()); ok {
			c.texts(path, was, is)
			c.property(path, was, is)
		} else {
			c.add(Removed, path, schemaText(was.Schema()), "", "links have no such property any more", both("what they read or write is not there"))
		}
	}
	for _, is := range now.Properties() {
		path := "properties/" + is.Name()
		if _, ok := old.Property(is.Name()); ok {
			continue
		}
		if is.Required() {
			c.add(Added, path, "", schemaText(is.Schema()), "links have a new property, which is required", writers("a link without it is refused"))
		} else {
			c.add(Added, path, "", schemaText(is.Schema()), "links have a new property", nobody("who does not know it passes over it"))
		}
	}
}

func limit(n int) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}

// target compares what a relationship may lead to, or of what interface a component is; an empty one is anything.
func (c *comparison) target(path, old, now string) {
	mapped := old // what the old one is called in the new set
	if is := c.pairs[old]; is != nil {
		mapped = is.ID()
	}
	switch {
	case mapped == now || versionless(mapped) == versionless(now):
	case old == "" || now != "" && c.after.IsA(now, mapped):
		c.add(Narrowed, path, anything(old), now, "it must be a "+now+" now", writers("other twins are refused"))
	case now == "" || c.after.IsA(mapped, now):
		c.add(Widened, path, old, anything(now), "it may be "+anything(now)+" now", readers("they count on a "+old))
	default:
		c.add(Changed, path, old, now, "it must be a "+now+" now", both("a "+now+" is no "+old))
	}
}

func anything(id string) string {
	if id == "" {
		return "any interface"
	}
	return id
}

// texts compares what people read, the co-types, and what extensions say.
func (c *comparison) texts(path string, old, now dtdl.Entity) {
	for _, t := range []struct{ name, old, now string }{
		{"displayName", text(old.DisplayName()), text(now.DisplayName())},
		{"description", text(old.Description()), text(now.Description())},
		{"comment", old.Comment(), now.Comment()},
	} {
		if t.old != t.now {
			c.add(Noted, join(path, t.name), t.old, t.now, "the "+t.name+" is another one", nobody("only people read it"))
		}
	}
	quantity := func(e dtdl.Entity) string {
		types := slices.DeleteFunc(e.CoTypes(), func(t string) bool { return t == e.SemanticType() || t == "Required" })
		slices.Sort(types)
		return strings.Join(types, ", ")
	}
	if was, is := quantity(old), quantity(now); was != is {
		c.add(Noted, join(path, "@type"), was, is, "it has other types beside its class", nobody("values are what they were; what an extension does by them is its own"))
	}
	names := append(old.Extensions(), now.Extensions()...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "unit" { // compared as the unit
			continue
		}
		was, _ := old.Extension(name)
		is, _ := now.Extension(name)
		if !bytes.Equal(was, is) {
			c.add(Noted, join(path, name), string(was), string(is), "an extension says something else", nobody("values are what they were; what the extension does by it is its own"))
		}
	}
}

func text(t dtdl.Text) string {
	langs := t.Languages()
	if len(langs) == 1 && langs[0] == "en" {
		return t.String()
	}
	var b strings.Builder
	for _, lang := range langs {
		fmt.Fprintf(&b, "%s: %s\n", lang, t.In(lang))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// meaning compares the quantity and the unit.
func (c *comparison) meaning(path string, old, now dtdl.Entity) {
	was, is := old.Unit(), now.Unit()
	switch {
	case was == is:
	case was == "":
		c.add(Noted, join(path, "unit"), "", is, "its unit is said now", nobody("as long as it was meant before"))
	case is == "":
		c.add(Changed, join(path, "unit"), was, "", "its unit is not said any more", readers("they take the unit from the model"))
	default:
		c.add(Changed, join(path, "unit"), was, is, "it is in another unit", both("the same number means something else"))
	}
	if q, r := old.SemanticType(), now.SemanticType(); q != r {
		c.add(Noted, join(path, "@type"), q, r, "it is said to be another quantity", nobody("values are what they were"))
	}
}
