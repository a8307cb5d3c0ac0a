package main

import (
	"fmt"
	"sort"
	"strings"
)

func (g *generator) contextTable() {
	g.printf("// contexts are sorted by identifier.\nvar contexts = [...]contextTable{\n")
	for _, id := range sortedKeys(g.digest.Contexts) {
		g.printf("{id: %q", id)
		if v := g.digest.ImplicitVersions[id]; v != 0 {
			g.printf(", version: %d", v)
		}
		if l, ok := g.digest.LimitContexts[id]; ok {
			spec, _, _ := strings.Cut(l.Spec, "_")
			g.printf(", limits: %sLimits, limitsOf: %d", spec, l.DtdlVersion)
		}
		if r := g.digest.ReservedIDPrefixes[id]; len(r) > 0 {
			g.printf(", reserved: %#v", r)
		}
		g.terms(g.digest.Contexts[id])
		g.printf("},\n")
	}
	g.printf("}\n\n")
}

var extensionKinds = map[string]string{
	"None": "noExtension", "SemanticType": "semanticType", "SemanticUnit": "semanticUnit", "Unit": "unitType", "UnitAttribute": "unitAttribute",
	"AdjunctType": "adjunctType", "LatentType": "latentType", "NamedLatentType": "namedLatentType",
}

func (g *generator) supplementalTable() {
	g.printf("// supplementals are sorted by identifier.\nvar supplementals = [...]supplemental{\n")
	alike := g.typeFamilies()
	for _, id := range sortedKeys(g.digest.SupplementalTypes) {
		if alike[id] {
			continue
		}
		s := g.digest.SupplementalTypes[id]
		kind := extensionKinds[s.ExtensionKind]
		if kind == "" {
			g.fail("%s: unknown kind %q", id, s.ExtensionKind)
		}
		g.printf("{id: %s, kind: %s", g.id(id), kind)
		if s.Abstract {
			g.printf(", abstract: true")
		}
		if s.Parent != "" {
			g.printf(", parent: %s", g.id(s.Parent))
		}
		g.printf(", cotypes: %s, versions: %s", g.set(s.Cotypes), versionBits(s.CotypeVersions))
		g.list(", requires", s.Cocotypes)
		g.list(", excludes", s.Discotypes)
		g.list(", admits", s.Altcotypes)
		if len(s.Properties) > 0 {
			g.printf(", props: []supplementalProperty{")
			for _, p := range sortedKeys(s.Properties) {
				g.supplementalProperty(p, s.Properties[p])
			}
			g.printf("}")
		}
		if len(s.Constraints) > 0 {
			g.printf(", rules: []constraint{")
			for _, c := range s.Constraints {
				g.constraint(c)
			}
			g.printf("}")
		}
		if len(s.Siblings) > 0 {
			g.printf(", siblings: []siblingRule{")
			for _, r := range s.Siblings {
				g.sibling(r)
			}
			g.printf("}")
		}
		g.printf("},\n")
	}
	g.printf("}\n\n")
}

func (g *generator) list(key string, ids []string) {
	if len(ids) > 0 {
		g.printf("%s: %s", key, g.ids(ids))
	}
}

func (g *generator) text(key, s string) {
	if s != "" {
		g.printf(", %s: %q", key, s)
	}
}

func (g *generator) identifier(key, s string) {
	if s != "" {
		g.printf(", %s: %s", key, g.id(s))
	}
}

func (g *generator) number(key string, n int) {
	if n != 0 {
		g.printf(", %s: %d", key, n)
	}
}

func (g *generator) boolean(key string, b bool) {
	if b {
		g.printf(", %s: true", key)
	}
}

func (g *generator) supplementalProperty(id string, p supplementalProperty) {
	g.printf("{id: %s", g.id(id))
	if _, datatype, ok := strings.Cut(p.Type, "XMLSchema#"); ok {
		g.text("datatype", datatype)
	} else {
		g.identifier("class", p.Type)
	}
	g.identifier("childOf", p.ChildOf)
	g.text("instance", p.InstanceProperty)
	g.text("pattern", p.Pattern)
	g.boolean("required", !p.Optional)
	g.boolean("plural", p.Plural)
	g.boolean("unique", p.UniqueValue)
	g.number("min", p.MinCount)
	g.number("length", p.MaxLength)
	bounded := 0
	if p.MinInclusive != nil {
		bounded |= 1
		g.number("low", *p.MinInclusive)
	}
	if p.MaxInclusive != nil {
		bounded |= 2
		g.number("high", *p.MaxInclusive)
	}
	g.number("bounded", bounded)
	g.printf("}, ")
}

func (g *generator) constraint(c constraint) {
	g.printf("{property: %q", c.Property)
	g.boolean("inverse", c.Inverse)
	g.list(", types", c.RequiredTypes)
	g.text("typesText", c.RequiredTypesString)
	g.list(", values", c.RequiredValues)
	g.text("valuesText", c.RequiredValuesString)
	g.identifier("noneOther", c.NoneOtherType)
	g.identifier("someOther", c.SomeOtherType)
	g.text("key", c.SiblingKey)
	g.identifier("keyref", c.SiblingKeyref)
	g.identifier("parentOf", c.SiblingParentOf)
	g.printf("}, ")
}

func (g *generator) sibling(s sibling) {
	g.printf("{key: %q, keyref: %s", s.Key, g.id(s.Keyref))
	g.list(", types", s.RequiredTypes)
	g.text("typesText", s.RequiredTypesString)
	g.identifier("not", s.DisallowedType)
	g.identifier("path", s.SupplementalProperty)
	g.identifier("unique", s.UniqueReference)
	g.printf("}, ")
}

func (g *generator) controlTable() {
	g.printf("var controls = [...]control{\n")
	for _, c := range g.digest.DescendantControls {
		g.printf("{version: %d, root: class%s, props: %#v", c.DtdlVersion, c.RootClass, c.Properties)
		g.boolean("narrow", c.Narrow)
		g.boolean("selfAllowed", c.AllowSelf)
		if c.ExcludeType != "" {
			g.printf(", exclude: class%s", c.ExcludeType)
		}
		g.text("datatype", c.DatatypeProperty)
		switch len(c.ImportProperties) {
		case 0:
		case 1:
			g.text("imports", c.ImportProperties[0])
		default:
			g.fail("a control imports %d properties", len(c.ImportProperties))
		}
		if c.MaxDepth != nil {
			g.printf(", depth: %s", bound(c.MaxDepth))
		}
		if c.MaxCount != nil {
			g.printf(", count: %s", bound(c.MaxCount))
		}
		g.printf("},\n")
	}
	g.printf("}\n\n")
}

// resolve returns the identifier of a term in the contexts.
func (g *generator) resolve(term string, ctx []string) string {
	if strings.HasPrefix(term, "dtmi:") {
		return term
	}
	for _, c := range ctx {
		if id, ok := g.digest.Contexts[c][term]; ok {
			return id
		}
	}
	g.fail("term %q is in none of %v", term, ctx)
	return ""
}

// element writes a standard element and what is nested in it, and returns its identifier.
func (g *generator) element(e map[string]any, ctx []string, id, parent string) string {
	types := strs(e["@type"])
	if s := str(e, "@type"); s != "" {
		types = []string{s}
	}
	class := ""
	var supplemental []string
	for _, t := range types {
		if _, ok := g.digest.MaterialClasses[t]; ok {
			class = t
			continue
		}
		s := g.resolve(t, ctx)
		supplemental = append(supplemental, s)
		switch g.digest.SupplementalTypes[s].ExtensionKind {
		case "Unit":
			class = "Unit"
		case "UnitAttribute":
			class = "UnitAttribute"
		}
	}
	if class == "" && parent != "" { // only fields are written without a type
		class = "Field"
	}
	row := element{id: id, version: ctx[0][strings.IndexByte(ctx[0], ';')+1:], class: class, types: supplemental, childOf: parent,
		name: str(e, "name"), display: str(e, "displayName"), symbol: str(e, "symbol"), value: str(e, "enumValue")}
	sort.Strings(supplemental)
	if a := str(e, "aliasFor"); a != "" {
		row.alias = g.resolve(a, ctx)
	}
	for _, key := range []string{"elementSchema", "valueSchema", "schema"} {
		switch v := e[key].(type) {
		case string:
			row.schema = g.resolve(v, ctx)
		case map[string]any:
			row.schema = g.element(v, ctx, str(v, "@id"), id)
		}
	}
	for _, key := range []string{"fields", "enumValues"} {
		list, _ := e[key].([]any)
		for _, x := range list {
			part := x.(map[string]any)
			partID := str(part, "@id")
			if partID == "" {
				base, v, _ := strings.Cut(id, ";")
				partID = fmt.Sprintf("%s:_%s:__%s;%s", base, key, str(part, "name"), v)
			}
			row.parts = append(row.parts, g.element(part, ctx, partID, id))
		}
	}
	g.standard[id] = row
	return id
}
