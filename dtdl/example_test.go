package dtdl_test

import (
	"encoding/json"
	"fmt"

	"vaultmesh.org/vaultmesh/dtdl"
)

const pump = `{
  "@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:quantitativeTypes;2"],
  "@id": "dtmi:com:example:Pump;1",
  "@type": "Interface",
  "displayName": { "en": "Pump", "de": "Pumpe" },
  "contents": [
    { "@type": ["Telemetry", "Power"], "name": "power", "schema": "double", "unit": "watt" },
    { "@type": "Property", "name": "running", "schema": "boolean", "writable": true },
    { "@type": "Command", "name": "setSpeed", "request": { "name": "speed", "schema": {
      "@type": "Object",
      "fields": [ { "name": "rpm", "schema": "integer" } ]
    } } }
  ]
}`

func ExampleParse() {
	set, err := dtdl.Parse([]dtdl.Document{{Name: "pump.json", Data: []byte(pump)}}, dtdl.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	model, _ := set.Interface("dtmi:com:example:Pump;1")
	power, _ := model.Telemetry("power")
	fmt.Println(model.DisplayName().In("de"), power.Schema().Kind(), power.Unit())
	// Output: Pumpe double watt
}

func ExampleParse_errors() {
	_, err := dtdl.Parse([]dtdl.Document{{Name: "valve.json", Data: []byte(`{
  "@context": "dtmi:dtdl:context;4",
  "@id": "dtmi:com:example:Valve;1",
  "@type": "Interface",
  "contents": [
    { "@type": "Telemetry", "name": "open", "schema": "bool" }
  ]
}`)}}, dtdl.Options{})
	fmt.Println(err)
	// Output:
	// valve.json:6:45: dtmi:com:example:Valve:_contents:__open;1: "schema" is "bool", which is neither an identifier nor a term of DTDL v4 (write "boolean")
	// valve.json:6:45: dtmi:com:example:Valve:_contents:__open;1: "schema" has 0 valid values; expected at least 1 (see the other errors of this property, or write a value)
}

func ExampleTelemetry_Validate() {
	set, _ := dtdl.Parse([]dtdl.Document{{Name: "pump.json", Data: []byte(pump)}}, dtdl.Options{})
	model, _ := set.Interface("dtmi:com:example:Pump;1")
	power, _ := model.Telemetry("power")
	fmt.Println(power.Validate(json.RawMessage(`1500.5`)))
	fmt.Println(power.Validate(json.RawMessage(`"1500.5"`)))
	// Output:
	// <nil>
	// dtdl.validate telemetry power: found a string (expected a double, a finite number like 12.5)
}

func ExamplePayload_Validate() {
	set, _ := dtdl.Parse([]dtdl.Document{{Name: "pump.json", Data: []byte(pump)}}, dtdl.Options{})
	model, _ := set.Interface("dtmi:com:example:Pump;1")
	command, _ := model.Command("setSpeed")
	fmt.Println(command.Request().Validate(json.RawMessage(`{"rpm": 1450.5}`)))
	// Output: dtdl.validate request speed at "/rpm": the number has a fraction or an exponent (expected an integer, a whole number from -2147483648 to 2147483647)
}

func ExampleParseDTMI() {
	id, err := dtdl.ParseDTMI("dtmi:com:example:Pump;1.2")
	fmt.Println(id.Labels(), id.Major(), id.Minor(), err)
	_, err = dtdl.ParseDTMI("dtmi:com:example:Pump;01")
	fmt.Println(err)
	// Output:
	// [com example Pump] 1 2 <nil>
	// dtmi "dtmi:com:example:Pump;01": the version is not a number of 1 to 9 digits that begins with 1 to 9 (write it like dtmi:com:example:Pump;1)
}
