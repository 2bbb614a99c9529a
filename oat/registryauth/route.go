package registryauth

import (
	"net/http"
	"strings"
)

// needed is what a request to a registry needs.
type needed struct {
	// access is what the registry names in its challenge: that of the repository in the path, and
	// the right to pull from the one that a blob is mounted from. It is empty for an address that
	// is not about a repository and for a method that the registry has no access for.
	access  []access
	deletes bool   // it deletes something other than an upload
	cancels bool   // it cancels an upload, which is a part of pushing
	allow   string // the methods at this address
}

// neededBy returns what a request needs.
func neededBy(r *http.Request) needed {
	if r.URL.Path == catalogPath {
		return needed{access: []access{{"registry", "catalog", []string{actionAll}}}}
	}
	at, ok := parseRoute(r.URL.Path)
	if !ok || strings.ContainsFunc(at.name, unusual) {
		return needed{}
	}
	needs := needed{allow: at.allow()}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		needs.add(at.name, actionPull)
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		needs.add(at.name, actionPull, actionPush)
	case http.MethodDelete:
		if needs.cancels = at.isUpload(); needs.cancels {
			needs.add(at.name, actionPull, actionPush)
			return needs
		}
		needs.deletes = true
		needs.add(at.name, actionDelete)
	default:
		return needs
	}
	if from := r.URL.Query().Get("from"); from != "" && !strings.ContainsFunc(from, unusual) {
		needs.add(from, actionPull)
	}
	return needs
}

// add adds access to a repository.
func (n *needed) add(name string, actions ...string) {
	n.access = merge(n.access, access{typeRepository, name, actions})
}

// The addresses of a registry that are not about one repository.
const (
	basePath    = "/v2/"
	catalogPath = "/v2/_catalog"
)

// route is the address of something in a repository.
type route struct {
	name string // of the repository
	kind string // "manifests", "blobs", "tags" or "referrers"
	rest string // what follows the kind
}

// parseRoute splits a path at the last of the words that separate the name of a repository from
// what is in it, because the name may have them as components.
func parseRoute(path string) (route, bool) {
	name, ok := strings.CutPrefix(path, basePath)
	var found route
	for _, kind := range []string{"manifests", "blobs", "tags", "referrers"} {
		if at := strings.LastIndex(name, "/"+kind+"/"); at > len(found.name) {
			found = route{name[:at], kind, name[at+len(kind)+2:]}
		}
	}
	return found, ok && found.name != ""
}

const uploads = "uploads/"

// isUpload reports whether it is the address of an upload that has begun. It is strict, because a
// registry behind a proxy may resolve "uploads/../" or an escaped slash, and what is no upload must
// never be deleted.
func (r *route) isUpload() bool {
	id, ok := strings.CutPrefix(r.rest, uploads)
	return ok && r.kind == "blobs" && strings.Trim(id, ".") != "" && !strings.ContainsFunc(id, notInUploadID)
}

// notInUploadID reports whether no upload has this character in its id (distribution,
// registry/api/v2/descriptors.go).
func notInUploadID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.=", r)
}

// allow returns the methods that the address has, as the Allow header names them.
func (r *route) allow() string {
	if r.kind == "manifests" {
		return "GET, HEAD, PUT"
	}
	return "GET, HEAD"
}

// IsRegistryPath reports whether a path is an address of the distribution API, at which a registry
// may have something. Where a registry shares /v2/ with Docker Hub's management API, which has
// addresses such as /v2/orgs/acme/members, every other path is the management API's.
func IsRegistryPath(path string) bool {
	if path == basePath || path == catalogPath {
		return true
	}
	at, ok := parseRoute(path)
	switch {
	case !ok:
		return false
	case at.kind == "tags":
		return at.rest == "list"
	case at.kind == "blobs" && strings.HasPrefix(at.rest, uploads):
		return !strings.Contains(at.rest[len(uploads):], "/")
	}
	return at.rest != "" && !strings.Contains(at.rest, "/")
}
