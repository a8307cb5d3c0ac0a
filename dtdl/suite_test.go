package dtdl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestModelSets parses the three public model sets whole.
func TestModelSets(t *testing.T) {
	for _, c := range []struct {
		name       string
		interfaces int
	}{
		{"building", 768},
		{"energygrid", 113},
		{"smartcities", 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse(modelSet(t, c.name), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if s.Len() != c.interfaces {
				t.Errorf("%d interfaces, want %d", s.Len(), c.interfaces)
			}
		})
	}
}

// suiteFiles decodes every file of a folder of the language's conformance suite and hands it over by name.
func suiteFiles[T any](t *testing.T, folder string, visit func(name string, content T)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testData(t, "suite", folder), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var content T
		if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		visit(strings.TrimSuffix(filepath.Base(file), ".json"), content)
	}
}

// TestSuiteDTMI holds every verdict of the suite about identifiers.
func TestSuiteDTMI(t *testing.T) {
	type file struct {
		Valid  bool
		IDText string
		Expect struct {
			MajorVersion, MinorVersion int
			Versionless, Fragment      string
			Labels                     []string
			IsReserved                 bool // the suite's word for a system identifier
		}
	}
	suiteFiles(t, "dtmis", func(name string, f file) {
		d, err := ParseDTMI(f.IDText)
		if (err == nil) != f.Valid {
			t.Errorf("%s: valid is %v, want %v (%v)", name, err == nil, f.Valid, err)
		}
		if err != nil || !f.Valid {
			return
		}
		e := f.Expect
		if d.Major() != e.MajorVersion || d.Minor() != e.MinorVersion || d.Versionless() != e.Versionless || d.Fragment() != e.Fragment ||
			!slices.Equal(d.Labels(), e.Labels) || d.IsSystem() != e.IsReserved {
			t.Errorf("%s: %+v, want %+v", name, d, e)
		}
	})
}

// suiteCase is one case of the suite that asks for a verdict.
type suiteCase struct {
	Valid     bool
	Options   []string
	Input     []json.RawMessage
	Instances []struct {
		Subject  string
		Conforms bool
		Submit   string
	}
}

func (c *suiteCase) parse(name string) (*Set, error) {
	docs := make([]Document, len(c.Input))
	for i, in := range c.Input {
		docs[i] = Document{Name: name, Data: in}
	}
	return Parse(docs, Options{AllowUndefinedExtensions: slices.Contains(c.Options, "AllowUndefinedExtensions")})
}

// TestSuiteInstances holds every verdict of the suite about values of primitive schemas.
func TestSuiteInstances(t *testing.T) {
	verdicts, others := 0, 0
	suiteFiles(t, "generated", func(name string, c suiteCase) {
		if len(c.Instances) == 0 {
			return
		}
		set, err := c.parse(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		for _, i := range c.Instances {
			d := dialect{version: 4}
			s := d.primitive(i.Subject)
			for _, model := range set.Interfaces() {
				for _, reusable := range model.Schemas() {
					if reusable.ID() == i.Subject {
						s = reusable
					}
				}
			}
			if s == nil {
				others++ // a whole element, whose identifier may be one that a processor assigns
				continue
			}
			verdicts++
			if err := s.Validate([]byte(i.Submit)); (err == nil) != i.Conforms {
				t.Errorf("%s: %s of %s: %v, want conforms %v", name, i.Submit, i.Subject, err, i.Conforms)
			}
		}
	})
	t.Logf("%d verdicts on schemas hold, %d on other elements are not asked", verdicts, others)
}

// TestSuiteAgreement counts how often the verdict is that of the suite. The floors are what holds today; a
// change may raise them and must not lower them.
func TestSuiteAgreement(t *testing.T) {
	tally := func(folder string, floor float64, visit func(t *testing.T, count func(name string, c suiteCase))) {
		t.Run(folder, func(t *testing.T) {
			agree, all := 0, 0
			visit(t, func(name string, c suiteCase) {
				all++
				_, err := c.parse(name)
				if (err == nil) == c.Valid {
					agree++
				} else {
					t.Logf("%s: valid is %v, want %v: %v", name, err == nil, c.Valid, err)
				}
			})
			t.Logf("%s: %d of %d verdicts agree", folder, agree, all)
			if got := float64(agree) / float64(all); got < floor {
				t.Errorf("%s: %.4f of the verdicts agree, the floor is %.4f", folder, got, floor)
			}
		})
	}
	tally("doc-examples", 0.938, func(t *testing.T, count func(string, suiteCase)) { suiteFiles(t, "doc-examples", count) })
	tally("generated", 0.875, func(t *testing.T, count func(string, suiteCase)) { suiteFiles(t, "generated", count) })
	tally("specification", 0.975, func(t *testing.T, count func(string, suiteCase)) {
		suiteFiles(t, "specification", func(name string, all []suiteCase) {
			for _, c := range all {
				count(name, c)
			}
		})
	})
}
