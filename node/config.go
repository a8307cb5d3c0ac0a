package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh"
)

// Config of a node. Its file form is YAML with exactly these keys; docs/configuration.md explains each. Environment
// variables override the file: VAULTMESH_ and the path of the key in capitals, joined by underscores
// (VAULTMESH_HTTP_LISTEN). Durations are written as in "90s".
type Config struct {
	// Profile is "prod" or "dev". dev makes its own CA and credentials, and binds to loopback only.
	Profile string           `yaml:"profile"`
	Domain  vaultmesh.Domain `yaml:"domain"` // name of the trust zone; part of every receipt and of the log's origin
	Name    string           `yaml:"name"`   // of this node; acts as "node:<name>"
	Data    string           `yaml:"data"`   // folder of everything durable
	HTTP    HTTPConfig       `yaml:"http"`
	MQTT    MQTTConfig       `yaml:"mqtt"`
	Log     LogConfig        `yaml:"log"`
	// Timestamps are RFC 3161 anchors of checkpoints.
	Timestamps TimestampConfig `yaml:"timestamps"`
	Grid       GridConfig      `yaml:"grid"`
	Gate       GateConfig      `yaml:"gate"`
	Commands   CommandConfig   `yaml:"commands"`
	Telemetry  TelemetryConfig `yaml:"telemetry"`
	State      StateConfig     `yaml:"state"`
	Keys       KeysConfig      `yaml:"keys"`
	Witness    WitnessConfig   `yaml:"witness"`
	Anchors    AnchorsConfig   `yaml:"anchors"`
	Archive    ArchiveConfig   `yaml:"archive"`
}

// HTTPConfig is the face for people and programs.
type HTTPConfig struct {
	Listen      string `yaml:"listen"`      // host:port
	Certificate string `yaml:"certificate"` // PEM file; prod
	Key         string `yaml:"key"`         // PEM file; prod
	ClientCA    string `yaml:"client_ca"`   // PEM file: client certificates signed by it may replace proofs
	Metrics     string `yaml:"metrics"`     // who reads /metrics without a token: "loopback", "anyone" or "nobody"
	Log         string `yaml:"log"`         // who reads the published log at /log/ without a token: the same

	Connections int `yaml:"connections"`       // open at the same time; beyond it one at work for nobody known is closed for a newer one
	Requests    int `yaml:"requests"`          // at work at the same time for those who proved who they are
	Reserved    int `yaml:"reserved_requests"` // beside them, for halt, resume, approve, reject and revoke alone
	Open        int `yaml:"open_requests"`     // beside them, of those without a token
	Feeds       int `yaml:"feeds"`             // open feed connections
}

// MQTTConfig is the face for devices.
type MQTTConfig struct {
	Listen      string   `yaml:"listen"`      // host:port, TLS with client certificates
	Certificate string   `yaml:"certificate"` // PEM file; prod
	Key         string   `yaml:"key"`         // PEM file; prod
	ClientCA    string   `yaml:"client_ca"`   // PEM file that signs device certificates; prod
	Revoked     []string `yaml:"revoked"`     // devices that may not connect
	MaxDevices  int      `yaml:"max_devices"` // connections
}

// TimestampConfig says who dates the log.
type TimestampConfig struct {
	URL      string        `yaml:"url"`      // RFC 3161 over HTTP; empty means none
	Roots    string        `yaml:"roots"`    // PEM file with the authority's roots, pinned
	Interval time.Duration `yaml:"interval"` // between two timestamps while the log grows
}

// GridConfig plugs in the energy profile.
type GridConfig struct {
	Case   string        `yaml:"case"`    // ieee14, ieee30, ieee118: its twins are defined at the first start; empty: none
	MaxAge time.Duration `yaml:"max_age"` // oldest measurement on which a simulation judges
}

// GateConfig is the policy.
type GateConfig struct {
	Policy    string `yaml:"policy"`    // folder of .rego and data files; empty means the shipped policy
	Operators string `yaml:"operators"` // YAML file of the people who may approve; prod
}

// CommandConfig bounds the life of a command.
type CommandConfig struct {
	TTL          time.Duration `yaml:"ttl"`           // from proposal to the last moment of dispatch
	AnswerWithin time.Duration `yaml:"answer_within"` // from dispatch to the device's answer
	AlignWithin  time.Duration `yaml:"align_within"`  // from dispatch to alignment
	MaxOpen      int           `yaml:"max_open"`      // commands of one principal that have not ended
}

// TelemetryConfig bounds what devices send.
type TelemetryConfig struct {
	MaxDrift time.Duration `yaml:"max_drift"` // how far in the future a message may be
	History  time.Duration `yaml:"history"`   // hot window of the history
}

// Defaults returns the configuration of a profile before any file.
func Defaults(profile string) Config {
	c := Config{
		Profile: profile, Domain: "vaultmesh", Name: "node-1", Data: "/var/lib/vaultmesh",
		HTTP:       HTTPConfig{Listen: ":8443", Metrics: "loopback", Log: "loopback", Connections: 1024, Requests: 256, Reserved: 16, Open: 32, Feeds: 128},
		MQTT:       MQTTConfig{Listen: ":8883", MaxDevices: 4096},
		Log:        defaultLog,
		Archive:    defaultArchive,
		Timestamps: TimestampConfig{Interval: time.Minute},
		Grid:       GridConfig{MaxAge: 10 * time.Second},
		Commands:   CommandConfig{TTL: 15 * time.Minute, AnswerWithin: 30 * time.Second, AlignWithin: time.Minute, MaxOpen: 256},
		Telemetry:  TelemetryConfig{MaxDrift: 5 * time.Second, History: 24 * time.Hour},
		State:      StateConfig{Interval: 5 * time.Second, MaxMB: 1024},
		Anchors:    AnchorsDefaults(),
		Keys:       KeysConfig{Validity: 30 * 24 * time.Hour, Root: RootConfig{Timeout: 10 * time.Second}},
		Witness:    WitnessConfig{Interval: 10 * time.Second, Timeout: 5 * time.Second, AlarmAfter: 5 * time.Minute},
	}
	if profile == "dev" {
		c.Domain, c.Data = "dev", ""
		if dir, err := DefaultDevData(); err == nil {
			c.Data = filepath.Join(dir, "data")
		}
		c.HTTP.Listen, c.MQTT.Listen = "127.0.0.1:8443", "127.0.0.1:8883"
		c.Grid.Case = "ieee118"
	}
	return c
}

// DefaultDevData is where `vaultmesh run` keeps its world, its data below it, when nothing else is said.
func DefaultDevData() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "vaultmesh"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || home == "" {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "config", "HOME", "this user has no home folder to keep keys in").WithFix("name a folder of your own with --dir or --data")
	}
	return filepath.Join(home, ".local", "share", "vaultmesh"), nil
}

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// LoadConfig reads a file over the defaults of its profile, then the environment. Every problem is an error that names
// the key. An empty path means defaults and environment only.
func LoadConfig(path, profile string, environ []string) (Config, error) {
	c, err := readConfig(path, profile, environ)
	if err != nil {
		return c, err
	}
	return c, c.Check()
}

// LoadOffline is LoadConfig for work on the data folder of a node that does not run, with data as the folder if it is not
// empty: what only a node that serves needs, such as certificates, may be missing.
func LoadOffline(path, profile, data string, environ []string) (Config, error) {
	c, err := readConfig(path, profile, environ)
	if err != nil {
		return c, err
	}
	if data != "" {
		c.Data = data
	}
	return c, c.checkOffline()
}

func readConfig(path, profile string, environ []string) (Config, error) {
	const op = "config"
	var raw []byte
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return Config{}, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "cannot read").Because(err)
		}
		raw, err = io.ReadAll(io.LimitReader(f, maxConfig+1))
		_ = f.Close()
		if err != nil {
			return Config{}, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "cannot read").Because(err)
		}
		if len(raw) > maxConfig {
			return Config{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, path, "more than %d bytes", maxConfig)
		}
		var head struct {
			Profile string `yaml:"profile"`
		}
		if err := yaml.Unmarshal(raw, &head); err != nil {
			return Config{}, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not YAML").Because(err)
		}
		if head.Profile != "" {
			profile = head.Profile
		}
	}
	if profile == "" {
		profile = "prod"
	}
	c := Defaults(profile)
	if len(raw) > 0 {
		dec := yaml.NewDecoder(bytes.NewReader(raw))
		dec.KnownFields(true)
		if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			return Config{}, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "unknown key or wrong type").Because(err).WithFix("see docs/configuration.md for the keys")
		}
	}
	if err := fromEnvironment(&c, environ); err != nil {
		return Config{}, err
	}
	return c, nil
}

// reserved are variables that are not configuration.
var reserved = map[string]bool{"VAULTMESH_TESTDATA": true, "VAULTMESH_REQUIRE_TESTDATA": true, "VAULTMESH_SOAK": true, "VAULTMESH_FAILPOINT": true, "VAULTMESH_CONFIG": true, "VAULTMESH_AS": true}

// fromEnvironment applies VAULTMESH_ variables; one that names no key is refused, since a misspelt one would be ignored.
func fromEnvironment(c *Config, environ []string) error {
	fields := map[string]reflect.Value{}
	collect("VAULTMESH", reflect.ValueOf(c).Elem(), fields)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "VAULTMESH_") || reserved[name] {
			continue
		}
		f, ok := fields[name]
		if !ok {
			known := make([]string, 0, len(fields))
			for k := range fields {
				known = append(known, k)
			}
			sort.Strings(known)
			return vaultmesh.Errorf(vaultmesh.Invalid, "config", name, "no such variable").WithFix("the variables are %s", strings.Join(known, ", "))
		}
		if err := setField(f, value); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "config", name, "cannot be read as %s", f.Type()).Because(err)
		}
	}
	return nil
}

func collect(prefix string, v reflect.Value, out map[string]reflect.Value) {
	for i := range v.NumField() {
		name := prefix + "_" + strings.ToUpper(v.Type().Field(i).Tag.Get("yaml"))
		if v.Field(i).Kind() == reflect.Struct {
			collect(name, v.Field(i), out)
			continue
		}
		out[name] = v.Field(i)
	}
}

func setField(f reflect.Value, value string) error {
	switch f.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		f.SetInt(int64(d))
		return nil
	case []string:
		f.Set(reflect.ValueOf(strings.FieldsFunc(value, func(r rune) bool { return r == ',' })))
		return nil
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return err
		}
		f.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		f.SetInt(int64(n))
	default:
		return fmt.Errorf("a value of type %s cannot come from the environment", f.Type())
	}
	return nil
}

// Check reports the first thing that is wrong, and of the keys that the prod profile needs all that are missing.
func (c *Config) Check() error {
	if err := c.checkOffline(); err != nil {
		return err
	}
	if c.Profile == "dev" {
		for _, x := range [][2]string{{"http.listen", c.HTTP.Listen}, {"mqtt.listen", c.MQTT.Listen}} {
			if key, addr := x[0], x[1]; !isLoopback(addr) {
				return badConfig(key, "%q is not a loopback address, and the dev profile trusts this machine", addr).WithFix("use 127.0.0.1, or the prod profile with certificates of your own")
			}
		}
		return nil
	}
	var missing []string
	for _, x := range [][2]string{{"http.certificate", c.HTTP.Certificate}, {"http.key", c.HTTP.Key}, {"mqtt.certificate", c.MQTT.Certificate}, {"mqtt.key", c.MQTT.Key},
		{"mqtt.client_ca", c.MQTT.ClientCA}, {"gate.operators", c.Gate.Operators}} {
		if x[1] == "" {
			missing = append(missing, x[0])
		}
	}
	if len(missing) > 0 {
		return badConfig(strings.Join(missing, ", "), "the prod profile needs it").WithFix("name a file for each (docs/production.md makes them), or use the dev profile on your own machine")
	}
	return nil
}

func badConfig(key, format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "config", key, format, args...)
}

// checkOffline is Check without what only a node that serves needs.
func (c *Config) checkOffline() error {
	bad := badConfig
	if c.Profile != "dev" && c.Profile != "prod" {
		return bad("profile", "%q", c.Profile).WithFix("use dev or prod")
	}
	for _, x := range [][2]string{{"domain", string(c.Domain)}, {"name", c.Name}} {
		if err := vaultmesh.CheckID(x[0], x[1]); err != nil {
			return vaultmesh.Wrap(err, "config", x[0])
		}
	}
	if c.Data == "" {
		return bad("data", "it is empty").WithFix("name the folder that keeps everything durable")
	}
	for _, x := range []struct {
		key string
		d   time.Duration
	}{{"timestamps.interval", c.Timestamps.Interval}, {"grid.max_age", c.Grid.MaxAge}, {"commands.ttl", c.Commands.TTL}, {"commands.answer_within", c.Commands.AnswerWithin},
		{"commands.align_within", c.Commands.AlignWithin}, {"telemetry.max_drift", c.Telemetry.MaxDrift}, {"telemetry.history", c.Telemetry.History}} {
		if x.d <= 0 {
			return bad(x.key, "%s", x.d).WithFix("want a positive duration such as 30s")
		}
	}
	if err := errors.Join(c.HTTP.check(), c.State.check(), c.Keys.check(), c.Witness.check(), c.checkAnchors(), c.Log.check(), c.Archive.check()); err != nil {
		return err
	}
	if c.Commands.AnswerWithin > c.Commands.AlignWithin {
		return bad("commands.align_within", "it is shorter than commands.answer_within")
	}
	if c.Commands.MaxOpen <= 0 || c.MQTT.MaxDevices <= 0 {
		return bad("commands.max_open, mqtt.max_devices", "want positive numbers")
	}
	for _, x := range [][2]string{{"http.metrics", c.HTTP.Metrics}, {"http.log", c.HTTP.Log}} {
		if _, known := peers[x[1]]; !known {
			return bad(x[0], "%q", x[1]).WithFix("use loopback, anyone or nobody")
		}
	}
	if (c.Timestamps.URL == "") != (c.Timestamps.Roots == "") {
		return bad("timestamps", "url and roots belong together").WithFix("pin the roots of the authority that answers at the URL")
	}
	return nil
}
