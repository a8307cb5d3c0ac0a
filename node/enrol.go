package node

import (
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
)

// EnrolDevices makes certificates with a dev node's CA and copies them to out as ca.crt, device-<id>.crt and
// device-<id>.key. The CA's key stays where it is.
func EnrolDevices(data, out string, devices map[vaultmesh.DeviceID]bool) error {
	const op = "enrol"
	if err := os.MkdirAll(out, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, out, "cannot create the folder").Because(err)
	}
	store, err := OpenPKI(data)
	if err != nil {
		return err
	}
	files := map[string]os.FileMode{"ca.crt": 0o644}
	for d := range devices {
		if _, err := store.Device(d); err != nil {
			return err
		}
		files["device-"+string(d)+".crt"], files["device-"+string(d)+".key"] = 0o644, 0o600
	}
	for name, mode := range files {
		b, err := os.ReadFile(filepath.Join(data, "pki", name))
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot read").Because(err)
		}
		if err := os.WriteFile(filepath.Join(out, name), b, mode); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot write").Because(err)
		}
	}
	return nil
}
