package dtdl

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// library answers a resolver's questions from documents by identifier, and keeps the questions.
type library struct {
	docs  map[string]string
	asked [][]string
}

func (l *library) resolve(missing []string) ([]Document, error) {
	l.asked = append(l.asked, slices.Clone(missing))
	var out []Document
	for _, id := range missing {
		if d, ok := l.docs[id]; ok {
			out = append(out, Document{Name: id, Data: []byte(d)})
		}
	}
	return out, nil
}

func part(id, members string) string { return iface("dtmi:t:"+id+";1", members) }

func codes(t *testing.T, err error) []string {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) {
		t.Fatalf("no errors: %v", err)
	}
	var out []string
	for _, e := range all.List {
		out = append(out, e.Code())
	}
	return out
}

func TestResolver(t *testing.T) {
	l := &library{docs: map[string]string{
		"dtmi:t:b;1": part("b", `"extends":["dtmi:t:c;1","dtmi:t:d;1"]`),
		"dtmi:t:c;1": part("c", `"extends":"dtmi:t:d;1"`),
		"dtmi:t:d;1": part("d", `"contents":[{"@type":"Property","name":"p","schema":"double"}]`),
	}}
	set, err := Parse([]Document{{Name: "a", Data: []byte(part("a", `"extends":"dtmi:t:b;1"`))}}, Options{Resolver: l.resolve})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := set.Interface("dtmi:t:a;1")
	if p, ok := a.Property("p"); !ok || p.DefinedIn().ID() != "dtmi:t:d;1" {
		t.Error("the inherited property is not there")
	}
	if want := "[[dtmi:t:b;1] [dtmi:t:c;1 dtmi:t:d;1]]"; fmt.Sprint(l.asked) != want {
		t.Errorf("asked %v, want %s", l.asked, want)
	}
}

func TestResolverFaults(t *testing.T) {
	chainOf := func(missing []string) ([]Document, error) {
		var out []Document
		for _, id := range missing {
			n := 0
			fmt.Sscanf(id, "dtmi:t:n%d;1", &n)
			out = append(out, Document{Name: id, Data: []byte(part(fmt.Sprintf("n%d", n), fmt.Sprintf(`"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:n%d;1"}]`, n+1)))})
		}
		return out, nil
	}
	for _, c := range []struct {
		name string
		r    Resolver
		want string
	}{
		{"nothing", func([]string) ([]Document, error) { return nil, nil }, "[unresolvedReference]"},
		{"failure", func([]string) ([]Document, error) { return nil, errors.New("no network") }, "[resolverFailed unresolvedReference]"},
		{"other element", func([]string) ([]Document, error) { return []Document{{Data: []byte(part("z", `"contents":[]`))}}, nil }, "[unresolvedReference]"},
		{"no JSON", func([]string) ([]Document, error) { return []Document{{Data: []byte(`{`)}}, nil }, "[notJson]"},
		{"no end", chainOf, "tooLarge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]Document{{Name: "a", Data: []byte(part("a", `"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:n0;1"}]`))}}, Options{Resolver: c.r})
			if got := fmt.Sprint(codes(t, err)); got != c.want && !(c.name == "no end" && slices.Contains(codes(t, err), c.want)) {
				t.Errorf("got %s, want %s (%v)", got, c.want, err)
			}
		})
	}
}

func TestCacheResolver(t *testing.T) {
	l := &library{docs: map[string]string{"dtmi:t:b;1": part("b", `"contents":[]`), "dtmi:t:c;1": part("c", `"contents":[]`)}}
	r := CacheResolver(l.resolve, 1<<20)
	for _, doc := range []string{part("a", `"extends":"dtmi:t:b;1"`), part("a", `"extends":["dtmi:t:b;1","dtmi:t:c;1"]`), part("a", `"extends":"dtmi:t:c;1"`)} {
		if _, err := Parse([]Document{{Name: "a", Data: []byte(doc)}}, Options{Resolver: r}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[[dtmi:t:b;1] [dtmi:t:c;1]]"; fmt.Sprint(l.asked) != want {
		t.Errorf("asked %v, want %s", l.asked, want)
	}
	small := CacheResolver(l.resolve, len(l.docs["dtmi:t:b;1"])+1) // room for one
	l.asked = nil
	for _, id := range []string{"dtmi:t:b;1", "dtmi:t:b;1", "dtmi:t:c;1", "dtmi:t:b;1"} {
		if docs, err := small([]string{id}); err != nil || len(docs) != 1 || docs[0].Name != id {
			t.Errorf("%s: %v %v", id, docs, err)
		}
	}
	if len(l.asked) != 3 {
		t.Errorf("asked %v, want b, c and b again", l.asked)
	}
}

func TestPartial(t *testing.T) {
	doc := []Document{{Name: "a", Data: []byte(part("a", `"extends":"dtmi:t:b;1","contents":[
		{"@type":"Component","name":"c","schema":"dtmi:t:n;1"},{"@type":"Property","name":"p","schema":"dtmi:t:s;1"},{"@type":"Property","name":"q","schema":"double"}]`))}}
	if _, err := Parse(doc, Options{}); fmt.Sprint(codes(t, err)) != "[unresolvedReference unresolvedReference unresolvedReference]" {
		t.Errorf("whole: %v", err)
	}
	set, err := Parse(doc, Options{Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(set.Unresolved()); got != "[dtmi:t:b;1 dtmi:t:n;1 dtmi:t:s;1]" {
		t.Errorf("unresolved %s", got)
	}
	a, _ := set.Interface("dtmi:t:a;1")
	if c, ok := a.Component("c"); !ok || c.Schema() != nil {
		t.Error("the component has an interface")
	}
	p, _ := a.Property("p")
	if err := p.Validate([]byte(`1`)); err == nil {
		t.Error("a value is valid whose schema is not there")
	}
	if faults := a.Faults([]byte(`{"c":{},"p":1,"q":2}`)); len(faults) != 2 {
		t.Errorf("faults %v", faults)
	}
	if len(a.JSONSchema()) == 0 {
		t.Error("no JSON Schema")
	}
}

// TestOneFaultOneError holds that what stands on a faulty part is not reported, and what does not is.
func TestOneFaultOneError(t *testing.T) {
	bad := part("bad", `"contents":[{"@type":"Property","name":"x y","schema":"double"}],"schemas":[{"@id":"dtmi:t:s;1","@type":"Array"}]`)
	heir := part("heir", `"extends":"dtmi:t:bad;1","contents":[{"@type":"Telemetry","name":"v","schema":"double"}]`)
	other := part("other", `"contents":[{"@type":"Telemetry","name":"v","schema":"dtmi:t:none;1"},{"@type":"Telemetry","name":"w","schema":"dtmi:t:gone;1"}]`)
	_, err := parse(bad, heir, other, `{"@id":"dtmi:t:gone;1"}`)
	if got, want := fmt.Sprint(codes(t, err)), "[stringInvalid missingObjectProperty unresolvedReference missingContext]"; got != want {
		t.Errorf("got %s, want %s\n%v", got, want, err)
	}
}
