package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// A configuration that cannot be used is refused before anything is touched, with the name of the key.
func TestConfiguration(t *testing.T) {
	tests := []struct {
		name, text string
		env        []string
		words      []string
	}{
		{"unknown key", "profile: dev\nhtpp:\n  listen: 127.0.0.1:0\n", nil, []string{"config ", "vaultmesh.yaml", "htpp", whatToDo, "docs/configuration.md"}},
		{"unknown key below", "profile: dev\nhttp:\n  lisen: 127.0.0.1:0\n", nil, []string{"lisen", whatToDo}},
		{"wrong type", "profile: dev\ncommands:\n  max_open: many\n", nil, []string{"vaultmesh.yaml", "many", "int", whatToDo}},
		{"wrong duration", "profile: dev\ncommands:\n  ttl: soon\n", nil, []string{"soon", "Duration", whatToDo}},
		{"negative duration", "profile: dev\ncommands:\n  ttl: -1s\n", nil, []string{"commands.ttl", "-1s", whatToDo}},
		{"not YAML", "profile: [dev\n", nil, []string{"vaultmesh.yaml", "not YAML"}},
		{"unknown profile", "profile: test\n", nil, []string{"profile", `"test"`, "use dev or prod"}},
		{"unknown variable", "profile: dev\n", []string{"VAULTMESH_HTTP_LISTN=127.0.0.1:1"}, []string{"VAULTMESH_HTTP_LISTN", "no such variable", "VAULTMESH_HTTP_LISTEN"}},
		{"variable of the wrong type", "profile: dev\n", []string{"VAULTMESH_COMMANDS_TTL=soon"}, []string{"VAULTMESH_COMMANDS_TTL", "soon"}},
		{"dev and open to the world", "profile: dev\nhttp:\n  listen: 0.0.0.0:8443\n", nil, []string{"http.listen", "0.0.0.0:8443", "not a loopback address", "127.0.0.1"}},
		{"dev and an open broker", "profile: dev\n", []string{"VAULTMESH_MQTT_LISTEN=:8883"}, []string{"mqtt.listen", ":8883", "not a loopback address"}},
		{"prod without certificates", "profile: prod\n", nil, []string{"the prod profile needs it", "name a file"}},
		{"bad domain", "profile: dev\ndomain: a/b\n", nil, []string{"domain", "not allowed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "vaultmesh.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(dir, "data")
			env := append([]string{"VAULTMESH_DATA=" + data}, tt.env...)
			refused(t, rig.Launch(t, program, env, "serve", "--config", path), 2, tt.words...)
			if _, err := os.Stat(data); err == nil {
				t.Error("it made the data folder")
			}
		})
	}
	t.Run("missing file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "absent.yaml")
		refused(t, rig.Launch(t, program, nil, "serve", "--config", path), 2, path, "no such file")
	})
	t.Run("unknown flag", func(t *testing.T) {
		t.Parallel()
		refused(t, rig.Launch(t, program, nil, "serve", "--confg", "x"), 2, "--confg")
	})
}

// A port that is taken is named.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	first := newSite(t)
	first.start()
	second := newSite(t)
	second.cfg.HTTP.Listen = first.cfg.HTTP.Listen
	second.write()
	second.refused(1, nil, first.cfg.HTTP.Listen, "address already in use")
	second.cfg.HTTP.Listen, second.cfg.MQTT.Listen = rig.FreeAddr(t), first.cfg.MQTT.Listen
	second.write()
	second.refused(1, nil, first.cfg.MQTT.Listen, "address already in use")
}
