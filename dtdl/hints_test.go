package dtdl

import (
	"errors"
	"strings"
	"testing"
)

// A unit that does not exist is answered by the nearest one of its family, or by what there is.
func TestUnitHints(t *testing.T) {
	for unit, want := range map[string]string{
		"degreesCelsius": `write "degreeCelsius"`,
		"DegreeCelsius":  `write "degreeCelsius"`,
		"warmth":         "there are kelvin, degreeCelsius, degreeFahrenheit",
	} {
		_, err := Parse([]Document{{Name: "t.json", Data: []byte(`{"@context":["dtmi:dtdl:context;4","dtmi:dtdl:extension:quantitativeTypes;3"],"@id":"dtmi:com:example:A;1","@type":"Interface",
			"contents":[{"@type":["Telemetry","Temperature"],"name":"t","schema":"double","unit":"` + unit + `"}]}`)}}, Options{})
		var errs *Errors
		if !errors.As(err, &errs) || errs.List[0].Code() != "badDtmiOrTerm" || !strings.HasPrefix(errs.List[0].Hint, want) {
			t.Errorf("%s: %v, want the hint %s", unit, err, want)
		}
	}
}
