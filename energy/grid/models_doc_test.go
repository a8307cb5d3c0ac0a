package grid

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/dtdl/doc"
)

var report = flag.Bool("report", false, "write docs/models.md")

const (
	modelsDoc   = "../../docs/models.md"
	modelsIntro = "The interfaces of power grids and substations that VaultMesh ships, under its own namespace dtmi:org:vaultmesh:grid. " +
		"The twins of a grid case are of Grid, Bus, Line, Transformer, Generator, Load, Shunt and CapacitorBank; the others are for equipment that cases do not describe, and have no hard limits and no simulation: the gate refuses commands to twins of theirs until a site gives them both. " +
		"Each comment names the class of CIM (IEC 61970-301, IEC 61968) that the interface corresponds to, and that of the energy-grid ontology " +
		"(Azure/opendigitaltwins-energygrid on GitHub, MIT, itself adapted from CIM) where it has one; the interfaces are our own, no text and no structure of either is taken over. " +
		"Values without a unit are per unit on the grid's base, or ratios. This page is written by: go test ./energy/grid -run ModelsDoc -report"
)

// docs/models.md says what the models say.
func TestModelsDoc(t *testing.T) {
	want, err := doc.Markdown(modelSet(t), doc.Options{Title: "Models of power grids", Intro: modelsIntro})
	if err != nil {
		t.Fatal(err)
	}
	if *report {
		if err := os.WriteFile(modelsDoc, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(modelsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not up to date: go test ./energy/grid -run ModelsDoc -report", modelsDoc)
	}
}

// Every interface names what it corresponds to, and every content says what it is: people read these models.
func TestModelsExplainThemselves(t *testing.T) {
	for _, i := range modelSet(t).Interfaces() {
		if !strings.HasPrefix(i.Comment(), "CIM (IEC 6") || i.Description().String() == "" {
			t.Errorf("%s does not name its class of CIM, or has no description", i.ID())
		}
		for _, c := range i.Contents() {
			if c.Description().String() == "" {
				t.Errorf("%s.%s has no description", i.ID(), c.Name())
			}
		}
	}
}
