package dtdl

import (
	"strings"
	"testing"
)

// TestTables holds that everything in the tables is found, and nothing else.
func TestTables(t *testing.T) {
	terms, types, elements := 0, 0, 0
	for i := range contexts {
		c := &contexts[i]
		for x := range c.terms() {
			terms++
			if id, ok := c.lookup(x.name); !ok || id != x.id {
				t.Errorf("%s: %s is %s, want %s", c.id, x.name, id, x.id)
			}
			if name := termOf(x.id); name != x.name && x.id[strings.LastIndexByte(x.id, ':')+1:] != "PowerUnit" { // which has two
				t.Errorf("%s: the term of %s is %s, want %s", c.id, x.id, name, x.name)
			}
			for _, wrong := range []string{x.name + "x", x.name[1:], x.name[:len(x.name)-1], x.name + " ", " " + x.name, x.name + " " + x.name} {
				if id, ok := c.lookup(wrong); ok && !strings.Contains(id, wrong) {
					t.Errorf("%s: %q is found: %s", c.id, wrong, id)
				}
			}
		}
		for _, wrong := range []string{"", " ", "~", "\n", "dtmi:"} {
			if id, ok := c.lookup(wrong); ok {
				t.Errorf("%s: %q is found: %s", c.id, wrong, id)
			}
		}
	}
	seen := map[string]bool{}
	for s := range allSupplementals() {
		types++
		if seen[s.id] || supplementalOf(s.id) != s {
			t.Errorf("%s is not found, or twice there", s.id)
		}
		seen[s.id] = true
		for _, p := range s.props {
			if p.datatype == "" && p.class == "" && p.childOf != "" {
				t.Errorf("%s: %s has no class", s.id, p.id)
			}
			if p.childOf != "" && findStandard(p.childOf) == nil {
				t.Errorf("%s: %s is no element", s.id, p.childOf)
			}
		}
	}
	for e := range standardElements() {
		elements++
		if seen[e.id] || findStandard(e.id) != e || e.class == 0 {
			t.Errorf("%s is not found, or twice there", e.id)
		}
		seen[e.id] = true
		for _, id := range append(append([]string{e.childOf, e.alias, e.schema}, e.parts...), e.types...) {
			if id != "" && findStandard(id) == nil && supplementalOf(id) == nil {
				t.Errorf("%s: %s is not known", e.id, id)
			}
		}
	}
	for _, wrong := range []string{"", "dtmi:", "dtmi:standard:;2", "dtmi:standard:unit:metre", "dtmi:standard:unit:metre;3", "dtmi:standard:unit:metre|Unit;2", "dtmi:standard:class:Acceleration AccelerationUnit;2"} {
		if findStandard(wrong) != nil || supplementalOf(wrong) != nil {
			t.Errorf("%q is found", wrong)
		}
	}
	if terms != 1854 || types != 339 || elements != 1339 {
		t.Errorf("%d terms, %d types, %d elements; the metamodel has 1854, 339, 1339", terms, types, elements)
	}
	metre := findStandard("dtmi:dtdl:extension:quantitativeTypes:v2:unit:metrePerSecond")
	if metre == nil || metre.display != "metre per second" || metre.symbol != "m/s" || metre.childOf != "dtmi:dtdl:extension:quantitativeTypes:v2:enum:VelocityUnit" || metre.value != "metrePerSecond" || metre.version != 4 {
		t.Errorf("%+v", metre)
	}
}
