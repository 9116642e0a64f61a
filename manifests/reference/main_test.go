package main

import (
	"bytes"
	"os"
	"testing"
)

// The page is what the schema says; "make generate" brings it up to date.
func TestThePageIsGenerated(t *testing.T) {
	data, err := os.ReadFile("../../" + schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := page(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../" + pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what %s says; run \"make generate\" and commit", pageFile, schemaFile)
	}
}
