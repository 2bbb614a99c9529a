package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// What registry clients printed, as the last line, when a token lacked the access: recorded on
// loopback against this server, with HOST for the registry's address and without the time and the level
// of skopeo's log. "pull" is a token for acme/web alone that pulls acme/api, "push" one that may read
// acme/api and pushes to it.
//
//	docker 28.2.2 (manifest inspect)
//	  pull  denied: this token may not pull acme/api
//	podman 4.3.1
//	  pull  Error: initializing source docker://HOST/acme/api:v1: reading manifest v1 in HOST/acme/api: denied: this token may not pull acme/api
//	  push  Error: writing manifest: uploading manifest v5 to HOST/acme/api: denied: this token may pull acme/api, not push
//	skopeo 1.9.3 (inspect, copy)
//	  pull  Error parsing image name "docker://HOST/acme/api:v1": reading manifest v1 in HOST/acme/api: denied: this token may not pull acme/api
//	  push  writing manifest: uploading manifest v5 to HOST/acme/api: denied: this token may pull acme/api, not push
//	crane 0.22.1
//	  pull  Error: fetching manifest HOST/acme/api:v1: GET http://HOST/v2/acme/api/manifests/v1: DENIED: this token may not pull acme/api
//	  push  Error: pushing image HOST/acme/api:v2: PUT http://HOST/v2/acme/api/manifests/v2: DENIED: this token may pull acme/api, not push
//	oras 1.3.6
//	  pull  Error response from registry: denied: this token may not pull acme/api
//	  push  Error response from registry: denied: this token may pull acme/api, not push
//	helm 3.22.0
//	  pull  Error: failed to perform "FetchReference" on source: GET "http://HOST/v2/acme/api/manifests/1.0.0": response status code 403: denied: this token may not pull acme/api
//	  push  Error: failed to perform "Push" on destination: POST "http://HOST/v2/acme/chart/blobs/uploads/": response status code 403: denied: this token may pull acme/chart, not push
//	regctl 0.11.7
//	  pull  failed to get manifest HOST/acme/api:v1: request failed: unauthorized [http 403]: {"errors":[{"code":"DENIED","message":"this token may not pull acme/api"}]}
//	  push  failed to send blob post, ref HOST/acme/api:v4: request failed: unauthorized [http 403]: {"errors":[{"code":"DENIED","message":"this token may pull acme/api, not push"}]}
//	containerd 2.4.2 (ctr)
//	  pull  denied: this token may not pull acme/api
//	  push  denied: this token may pull acme/api, not push
//
// Where a client begins with a HEAD, as crane, oras, helm and skopeo do when they push with a token
// that may not even pull, it prints "403 Forbidden" alone, because an answer to a HEAD has no
// words. With 401 in place of 403, containerd and regctl printed no words at all: "insufficient_scope:
// authorization failed" and "unauthorized". With "details" beside "errors" podman and skopeo
// printed "unknown: this token may not pull acme/api".
//
// TestClientsPrintWhatATokenLacks repeats it with docker and with crane's library, and with those of
// the others that are on PATH.
//
// Fails if the guard answers 401, answers without words, or leaves it to the registry.
func TestClientsPrintWhatATokenLacks(t *testing.T) {
	d := newDocker(t)
	c := registered(t)
	all := c.generate(t, "acme", "all", "--all", "read-write").secret
	reads := c.generate(t, "acme", "reads", "--all", "read").secret
	web := c.generate(t, "acme", "web", "--repo", "web=read").secret
	s := c.serve(t)
	s.push(t, "acme/api:v1", all)
	image := s.addr + "/acme/api"
	const notPull, notPush = "denied: this token may not pull acme/api", "denied: this token may pull acme/api, not push"

	if out, ok := d.run(web, "login", "--username", "acme", "--password-stdin", s.addr); !ok {
		t.Fatalf("docker login: %s", out)
	}
	if out, ok := d.run("", "manifest", "inspect", "--insecure", image+":v1"); ok || strings.TrimSpace(out) != notPull {
		t.Errorf("docker manifest inspect printed %q, want %q", out, notPull)
	}
	if _, err := crane.Pull(image+":v1", as(web)); err == nil || !strings.HasSuffix(err.Error(), "DENIED: this token may not pull acme/api") {
		t.Errorf("crane pull: %v", err)
	}
	other, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(other, image+":v2", as(reads)); err == nil || !strings.HasSuffix(err.Error(), "DENIED: this token may pull acme/api, not push") {
		t.Errorf("crane push: %v", err)
	}

	home := t.TempDir()
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []struct {
		printed string
		args    []string
	}{
		{notPull, []string{"skopeo", "inspect", "--tls-verify=false", "--creds", "acme:" + web, "docker://" + image + ":v1"}},
		{notPull, []string{"oras", "manifest", "fetch", "--plain-http", "--username", "acme", "--password", web, image + ":v1"}},
		{notPush, []string{"oras", "push", "--plain-http", "--disable-path-validation", "--username", "acme", "--password", reads, image + ":v3", file}},
		{"this token may not pull acme/api", []string{"regctl", "--host", "reg=" + s.addr + ",tls=disabled,user=acme,pass=" + web, "manifest", "get", image + ":v1"}},
	} {
		program, err := exec.LookPath(command.args[0])
		if err != nil {
			continue
		}
		cmd := exec.Command(program, command.args[1:]...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "DOCKER_CONFIG="+home)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), command.printed) {
			t.Errorf("%s %s: %v, printed %q, want %q", command.args[0], command.args[1], err, out, command.printed)
		}
	}
}

// The documentation of registryauth says which realms recent clients refuse (go-containerregistry
// 0.22.1, validateRealmURL). The server's own realm has the host and port of its registry.
//
// Fails if clients begin to take other realms, and the documentation is to be changed.
func TestRealmOnAnotherPrivateAddressIsRefused(t *testing.T) {
	listening := regexp.MustCompile(`listening on (127\S+);`)
	for _, url := range []string{"http://127.0.0.1:1", "http://10.1.2.3", "http://[fe80::1]:5000"} {
		s := shell{filepath.Join(t.TempDir(), "data")}.serve(t, "--url", url)
		addr := s.Await(t, s.Stderr, listening)
		if _, err := crane.Pull(addr+"/acme/api:v1", as(s.firstSecret(t))); err == nil || !strings.Contains(err.Error(), "private or link-local address") {
			t.Errorf("with the realm %s/token: %v", url, err)
		}
		s.stop(t, os.Interrupt)
	}
}
