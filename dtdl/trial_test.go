package dtdl

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sets returns sets of documents, without fault and with, that are large enough to be read in parts.
func trialSets(t *testing.T) map[string][]Document {
	one := func(i int, more string) Document {
		return Document{Name: fmt.Sprintf("%d.json", i), Data: []byte(iface(fmt.Sprintf("dtmi:t:x%d;1", i), more))}
	}
	const n = 600
	sets := make(map[string][]Document)
	add := func(name string, change map[int]string) {
		var docs []Document
		for i := range n {
			more := `"contents":[{"@type":"Property","name":"p","schema":"double"},{"@type":"Command","name":"c","request":{"name":"r","schema":{"@type":"Array","elementSchema":"long"}}}]`
			if i >= 10 {
				more += fmt.Sprintf(`,"extends":"dtmi:t:x%d;1"`, i%10)
				more = strings.Replace(strings.Replace(more, `"p"`, `"q"`, 1), `"c"`, `"d"`, 1)
			}
			if c, ok := change[i]; ok {
				more = c
			}
			docs = append(docs, one(i, more))
		}
		sets[name] = docs
	}
	add("no fault", nil)
	add("one fault in the last", map[int]string{n - 1: `"contents":1`})
	add("faults in all parts", map[int]string{1: `"contents":[1]`, 99: `"extends":2`, 300: `"displayName":[1,2]`, 301: `"x":1`, n - 1: `"schemas":[{}]`})
	add("a name twice", map[int]string{n - 1: `"extends":["dtmi:t:x1;1","dtmi:t:x2;1"]`})
	add("a circle", map[int]string{5: `"extends":"dtmi:t:x500;1"`})
	add("unresolved", map[int]string{5: `"extends":"dtmi:t:none;1"`, 400: `"extends":"dtmi:t:nil;1"`})
	twice := slices.Clone(sets["no fault"])
	sets["an interface twice"] = append(twice, twice[3])
	sets["no JSON"] = append(slices.Clone(twice), Document{Name: "text", Data: []byte("{")})
	sets["no UTF-8, behind a byte order mark"] = append(slices.Clone(twice), Document{Name: "text", Data: []byte("\xEF\xBB\xBF{\"\xff\":1}")})
	many := make(map[int]string)
	for i := range n {
		many[i] = `"contents":[{}]`
	}
	add("more faults than are told", many)
	return sets
}

// TestTrial holds that what is read of a set, and what is said of its faults, does not depend on how many parsers
// read it.
func TestTrial(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	told := func(docs []Document, processors int) string {
		runtime.GOMAXPROCS(processors)
		s, err := Parse(docs, Options{})
		if err != nil {
			text, _ := json.Marshal(err)
			return string(text)
		}
		var b strings.Builder
		for _, i := range s.Interfaces() {
			fmt.Fprintln(&b, i.ID(), len(i.Contents()))
			b.Write(i.JSONSchema())
		}
		return b.String()
	}
	for name, docs := range trialSets(t) {
		p := newParser(Options{}) // one after the other, and nothing on trial
		for i, d := range docs {
			p.document(newSource(i, d))
		}
		p.docs = len(docs)
		p.resolve()
		p.link()
		p.check()
		alone, _ := json.Marshal(p.errs.result())
		first := told(docs, 1)
		if p.failed && first != string(alone) {
			t.Errorf("%s: on trial %.300s\nnot on trial %.300s", name, first, alone)
		}
		for _, processors := range []int{2, 3, 8} {
			if got := told(docs, processors); got != first {
				t.Errorf("%s: %d processors %.300s\none %.300s", name, processors, got, first)
			}
		}
		if strings.HasPrefix(first, `{"List"`) == (name == "no fault") {
			t.Errorf("%s: %.300s", name, first)
		}
	}
}

// TestManyAncestors gives a set in which very many interfaces extend very many others. The memory that it takes
// must not grow with the product, and neither must the time where something is at fault.
func TestManyAncestors(t *testing.T) {
	var b strings.Builder
	b.WriteByte('[')
	const levels, heirs = 9, 20_000 // a binary tree of interfaces of v2, which may extend two
	for i := 1; i < 1<<levels; i++ {
		fmt.Fprintf(&b, `{"@context":"dtmi:dtdl:context;2","@id":"dtmi:t:n%d;1","@type":"Interface"`, i)
		if 2*i < 1<<levels {
			fmt.Fprintf(&b, `,"extends":["dtmi:t:n%d;1","dtmi:t:n%d;1"]`, 2*i, 2*i+1)
		}
		b.WriteString("},")
	}
	for i := range heirs {
		fmt.Fprintf(&b, `{"@context":"dtmi:dtdl:context;2","@id":"dtmi:t:h%d;1","@type":"Interface","extends":"dtmi:t:n1;1"},`, i)
	}
	good := Document{Data: []byte(b.String() + `{"@context":"dtmi:dtdl:context;2","@id":"dtmi:t:x;1","@type":"Interface"}]`)}
	bad := Document{Data: []byte(b.String() + `{"@context":"dtmi:dtdl:context;2","@id":"dtmi:t:x;1","@type":"Interface","contents":1}]`)}
	most := uint64(32<<20 + 250*len(good.Data))
	var s *Set
	var err error
	if used := allocatedBy(func() { s, err = Parse([]Document{good}, Options{}) }); err != nil || used > most {
		t.Fatalf("%d bytes for %d: %v", used, len(good.Data), err)
	}
	for _, c := range []struct {
		model, base string
		want        bool
	}{{"h7", "n1", true}, {"h7", "n511", true}, {"h7", "h7", true}, {"h7", "h8", false}, {"n2", "n3", false}, {"n2", "n4", true}, {"x", "n1", false}, {"n1", "none", false}, {"none", "none", false}} {
		if got := s.IsA("dtmi:t:"+c.model+";1", "dtmi:t:"+c.base+";1"); got != c.want {
			t.Errorf("%s is a %s: %v", c.model, c.base, got)
		}
	}
	if used := allocatedBy(func() { _, err = Parse([]Document{bad}, Options{}) }); err == nil || used > 3*most {
		t.Fatalf("%d bytes for %d: %v", used, len(bad.Data), err)
	}
}

// TestMapWithoutValue exports a map whose value a partial set lacks.
func TestMapWithoutValue(t *testing.T) {
	doc := iface("dtmi:t:x;1", `"contents":[{"@type":"Property","name":"p","schema":{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":"dtmi:t:none;1"}}]`)
	s, err := Parse([]Document{{Data: []byte(doc)}}, Options{Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	i, _ := s.Interface("dtmi:t:x;1")
	if !json.Valid(i.JSONSchema()) {
		t.Errorf("%s", i.JSONSchema())
	}
	p, _ := i.Property("p")
	if p.Schema().Elem().Kind() != 0 || p.Validate([]byte(`{"a":1}`)) == nil || p.Validate([]byte(`{}`)) != nil {
		t.Error("a value of a missing schema is accepted")
	}
}

// TestScratch holds that a set and an error stay as they are while later sets are read, with the same memory.
func TestScratch(t *testing.T) {
	sets := trialSets(t)
	sets["station"] = []Document{{Data: []byte(pumpStation)}}
	tell := func(s *Set, err error) string {
		if err != nil {
			text, _ := json.Marshal(err)
			return string(text)
		}
		var b strings.Builder
		for _, e := range s.Entities() {
			fmt.Fprintln(&b, e.ID(), e.Class(), e.Comment(), e.DisplayName(), e.CoTypes(), e.Extensions(), e.Unit())
		}
		for _, i := range s.Interfaces() {
			for _, c := range i.Contents() {
				fmt.Fprintln(&b, i.ID(), c.Name(), c.DefinedIn().ID())
			}
			b.Write(i.JSONSchema())
		}
		return b.String()
	}
	type kept struct {
		set  *Set
		err  error
		told string
	}
	var all []kept
	for range 3 {
		for _, name := range sortedNames(sets) {
			s, err := Parse(sets[name], Options{})
			all = append(all, kept{s, err, tell(s, err)})
		}
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for _, name := range sortedNames(sets) {
				_, _ = Parse(sets[name], Options{})
			}
		})
	}
	wait.Wait()
	for _, k := range all {
		if now := tell(k.set, k.err); now != k.told {
			t.Fatalf("it was\n%.300s\nit is\n%.300s", k.told, now)
		}
	}
}

// TestSlab holds that a slab gives zero values, and no two the same.
func TestSlab(t *testing.T) {
	var s slab[int]
	for round := range 5 {
		seen := make(map[*int]bool)
		for i := range 20_000 {
			list := s.list(i % 7)
			if i%1000 == 0 {
				list = s.list(10_000)
			}
			for j := range list {
				if list[j] != 0 || seen[&list[j]] {
					t.Fatalf("round %d: a value is not new", round)
				}
				seen[&list[j]], list[j] = true, 1
			}
		}
		s.reset()
		if len(s.spare) > maxKept {
			t.Fatalf("%d lists are kept", len(s.spare))
		}
	}
}
