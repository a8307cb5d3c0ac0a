package bucket

import (
	"context"
	"net/url"
	"os"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2/google"

	"vaultmesh.org/vaultmesh"
)

// gcsBucket adds to [cloud] what GCS alone has: object retention.
type gcsBucket struct {
	cloud
	client *storage.Client
	name   string
}

// openGCS does what gcsblob's own opener does, except that missing credentials are an error: that opener prints to
// standard output, which belongs to whoever reads a command's result.
func openGCS(ctx context.Context, u *url.URL) (Bucket, error) {
	const op = "bucket.open"
	prefix, bare := prefixOf(u)
	fix := "write gs://bucket; credentials are Google's application default credentials"
	opener := &gcsblob.URLOpener{}
	if q := bare.Query(); q.Get("anonymous") == "true" || os.Getenv("STORAGE_EMULATOR_HOST") != "" {
		opener.Client = gcp.NewAnonymousHTTPClient(gcp.DefaultTransport())
	} else {
		credentials, err := google.FindDefaultCredentials(ctx, storage.ScopeFullControl)
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, place(u), "there are no credentials for Google Cloud").Because(err).WithFix("%s", fix)
		}
		if opener.Client, err = gcp.NewHTTPClient(gcp.DefaultTransport(), credentials.TokenSource); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, place(u), "the credentials for Google Cloud cannot be used").Because(err).WithFix("%s", fix)
		}
	}
	b, err := opener.OpenBucketURL(ctx, bare)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, place(u), "not the address of a GCS bucket").Because(notOpened(u, bare, err)).WithFix("%s", fix)
	}
	g := &gcsBucket{cloud: cloud{b: b, prefix: prefix, where: place(u), lock: lockGCS}, name: u.Host}
	if !b.As(&g.client) {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, place(u), "the driver does not give its client")
	}
	return g, nil
}

func lockGCS(as func(any) bool, r Retention) error {
	var w *storage.Writer
	if !as(&w) {
		return vaultmesh.Errorf(vaultmesh.Internal, "bucket.create", "", "the driver does not give its request")
	}
	w.Retention = &storage.ObjectRetention{Mode: "Locked", RetainUntil: r.Until.UTC()}
	if r.Governed {
		w.Retention.Mode = "Unlocked"
	}
	return nil
}

// Locks implements [Locker].
func (g *gcsBucket) Locks(ctx context.Context) (bool, error) {
	a, err := g.client.Bucket(g.name).Attrs(ctx)
	if err != nil {
		return false, g.failed("bucket.lock", "", err)
	}
	return a.ObjectRetentionMode == "Enabled", nil
}
