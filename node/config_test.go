package node

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

func load(t *testing.T, text string, environ ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vaultmesh.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path, "prod", environ)
}

func TestConfigOrder(t *testing.T) {
	c, err := load(t, "profile: dev\ndomain: plant\nhttp: {listen: '127.0.0.1:1'}\n", "VAULTMESH_HTTP_LISTEN=127.0.0.1:2", "VAULTMESH_MQTT_REVOKED=a,b", "VAULTMESH_COMMANDS_TTL=90s", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	if c.Domain != "plant" || c.HTTP.Listen != "127.0.0.1:2" || len(c.MQTT.Revoked) != 2 || c.Commands.TTL.Seconds() != 90 || c.MQTT.Listen != "127.0.0.1:8883" {
		t.Fatalf("%+v", c)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		text    string
		environ []string
		says    string
	}{
		"unknown key":          {text: "profile: dev\nhttp: {listn: x}\n", says: "listn"},
		"unknown top key":      {text: "profile: dev\ncolour: red\n", says: "colour"},
		"wrong type":           {text: "profile: dev\ncommands: {max_open: many}\n", says: "many"},
		"not YAML":             {text: "{{{", says: "YAML"},
		"unknown variable":     {text: "profile: dev\n", environ: []string{"VAULTMESH_HTTP_LISTN=x"}, says: "VAULTMESH_HTTP_LISTN"},
		"bad duration":         {text: "profile: dev\n", environ: []string{"VAULTMESH_COMMANDS_TTL=soon"}, says: "VAULTMESH_COMMANDS_TTL"},
		"negative duration":    {text: "profile: dev\ncommands: {ttl: -1s}\n", says: "commands.ttl"},
		"dev on the network":   {text: "profile: dev\nhttp: {listen: ':8443'}\n", says: "loopback"},
		"dev on all addresses": {text: "profile: dev\nmqtt: {listen: '0.0.0.0:8883'}\n", says: "loopback"},
		"prod without TLS":     {text: "profile: prod\n", says: "prod profile needs it"},
		"unknown profile":      {text: "profile: test\n", says: "profile"},
		"bad domain":           {text: "profile: dev\ndomain: a/b\n", says: "domain"},
		"roots without url":    {text: "profile: dev\ntimestamps: {roots: x.pem}\n", says: "belong together"},
		"log":                  {text: "profile: dev\nhttp: {log: all}\n", says: "http.log"},
		"metrics":              {text: "profile: dev\nhttp: {metrics: all}\n", says: "http.metrics"},
	} {
		_, err := load(t, x.text, x.environ...)
		if vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v, want Invalid that says %q", name, err, x.says)
		}
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "absent.yaml"), "dev", nil); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("an absent file: %v", err)
	}
}

// The prod profile says everything that is missing at once, always in the same words; what does not serve does not need it.
func TestProdNamesAllThatIsMissing(t *testing.T) {
	const text = "profile: prod\nhttp: {certificate: a.pem}\n"
	for range 20 {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), "http.key, mqtt.certificate, mqtt.key, mqtt.client_ca, gate.operators") || strings.Contains(err.Error(), "http.certificate") {
			t.Fatalf("%v", err)
		}
	}
	c, err := LoadOffline("", "prod", "/srv/data", nil)
	if err != nil || c.Data != "/srv/data" {
		t.Errorf("%s: %v", c.Data, err)
	}
	if _, err := LoadOffline("", "prod", "", []string{"VAULTMESH_COMMANDS_TTL=-1s"}); err == nil || !strings.Contains(err.Error(), "commands.ttl") {
		t.Errorf("offline is not unchecked: %v", err)
	}
}

// The reference names every key, and no key that does not exist.
func TestConfigurationIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, line := range strings.Split(string(b), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		first := strings.Split(line, "|")[1]
		for _, m := range regexp.MustCompile("`([a-z0-9_.]+)`").FindAllStringSubmatch(first, -1) {
			documented[m[1]] = true
		}
	}
	var walk func(prefix string, t reflect.Type)
	exist := map[string]bool{}
	walk = func(prefix string, t reflect.Type) {
		for i := range t.NumField() {
			name := prefix + t.Field(i).Tag.Get("yaml")
			if t.Field(i).Type.Kind() == reflect.Struct {
				walk(name+".", t.Field(i).Type)
				continue
			}
			exist[name] = true
		}
	}
	walk("", reflect.TypeFor[Config]())
	for k := range exist {
		if !documented[k] {
			t.Errorf("docs/configuration.md does not name %s", k)
		}
	}
	for k := range documented {
		if !exist[k] {
			t.Errorf("docs/configuration.md names %s, which does not exist", k)
		}
	}
}

// A key file that others may read is refused; a secret is written for its owner alone.
func TestSecretsAreTheOwners(t *testing.T) {
	dir := t.TempDir()
	k, err := openKeys(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	again, err := openKeys(dir, "test")
	if err != nil || !again.receipts.Equal(k.receipts) || !again.capability.Equal(k.capability) || again.logKey != k.logKey {
		t.Fatalf("the keys changed: %v", err)
	}
	for _, name := range []string{"receipt.key", "capability.key", "log.key"} {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v %v", name, st.Mode(), err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeys(dir, "test"); vaultmesh.KindOf(err) != vaultmesh.Denied {
			t.Errorf("%s readable by others: %v", name, err)
		}
		if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeys(dir, "test"); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s damaged: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
