package bucket_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"vaultmesh.org/vaultmesh/test/peers"
)

// deleteVersions tries to delete every version of an object, as an intruder with all rights would, and asks that the
// store refuses at least one.
func deleteVersions(t *testing.T, p *peers.S3, bucket, key string) {
	t.Helper()
	out, err := p.Client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &key})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, v := range out.Versions {
		if _, err := p.Client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: v.VersionId}); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Fatalf("none of %d versions is kept from deletion", len(out.Versions))
	}
}
