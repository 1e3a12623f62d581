package main

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const largeFiles = "application/vnd.git-lfs+json"

var (
	repositoryPath = regexp.MustCompile(`^/([^/]+)/(.+)$`)
	objectID       = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (s *server) serve(httpAddress, httpsAddress, certificate, key string) error {
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("cannot find git's programs: %w", err)
	}
	backend := filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		return err
	}
	handler := http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		log.Printf("%s %s %s", request.RemoteAddr, request.Method, request.URL.Path)
		if err := s.answer(response, request, backend); err != nil {
			log.Printf("%s: %v", request.URL.Path, err)
			plain(response, http.StatusInternalServerError, "the server failed, see its log")
		}
	})
	ended := make(chan error)
	go func() { ended <- http.ListenAndServe(httpAddress, handler) }()
	go func() { ended <- http.ListenAndServeTLS(httpsAddress, certificate, key, handler) }()
	return <-ended
}

func (s *server) answer(response http.ResponseWriter, request *http.Request, backend string) error {
	parts := repositoryPath.FindStringSubmatch(request.URL.Path)
	if parts == nil {
		return plain(response, http.StatusNotFound, "Repository not found.")
	}
	repository, err := s.open(parts[1])
	if err != nil {
		return err
	}
	if repository == nil {
		return plain(response, http.StatusNotFound, "Repository not found.")
	}
	if repository.private {
		user, password, given := request.BasicAuth()
		if !given || !same(user, s.user) || !same(password, s.password) {
			response.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			text := "Authentication required."
			if given {
				text = "Invalid username or password."
			}
			return plain(response, http.StatusUnauthorized, text)
		}
	}
	if path, found := strings.CutPrefix(parts[2], "info/lfs/"); found {
		return repository.largeFiles(response, request, parts[1], path)
	}
	if parts[2] == "git-receive-pack" || request.URL.Query().Get("service") == "git-receive-pack" {
		return plain(response, http.StatusForbidden, "This server is read-only.")
	}
	environment := []string{"GIT_PROJECT_ROOT=" + s.repositories, "GIT_HTTP_EXPORT_ALL=1", "PATH_INFO=/" + filepath.Base(repository.directory) + "/" + parts[2]}
	if protocol := request.Header.Get("Git-Protocol"); protocol != "" && repository.protocolV2 {
		environment = append(environment, "GIT_PROTOCOL="+protocol)
	}
	request.Header.Del("Git-Protocol")
	(&cgi.Handler{Path: backend, Env: environment, InheritEnv: []string{"GIT_CONFIG_GLOBAL"}}).ServeHTTP(response, request)
	return nil
}

// largeFiles is the part of the Git LFS protocol that a clone needs.
func (r *repository) largeFiles(response http.ResponseWriter, request *http.Request, name, path string) error {
	switch {
	case path == "objects/batch" && request.Method == http.MethodPost:
		return r.batch(response, request, name)
	case path == "locks/verify" && request.Method == http.MethodPost:
		return reply(response, http.StatusOK, map[string]any{"ours": []any{}, "theirs": []any{}})
	case path == "locks" && request.Method == http.MethodGet:
		return reply(response, http.StatusOK, map[string]any{"locks": []any{}})
	case strings.HasPrefix(path, "objects/") && request.Method == http.MethodGet:
		if oid := strings.TrimPrefix(path, "objects/"); objectID.MatchString(oid) {
			http.ServeFile(response, request, r.object(oid))
			return nil
		}
	}
	return reply(response, http.StatusNotFound, map[string]any{"message": "not found, and nothing can be written here"})
}

func (r *repository) object(oid string) string {
	return filepath.Join(r.directory, "lfs", "objects", oid[:2], oid[2:4], oid)
}

func (r *repository) batch(response http.ResponseWriter, request *http.Request, name string) error {
	type object struct {
		Oid           string         `json:"oid"`
		Size          int64          `json:"size"`
		Authenticated bool           `json:"authenticated,omitempty"`
		Actions       map[string]any `json:"actions,omitempty"`
		Error         map[string]any `json:"error,omitempty"`
	}
	var asked struct {
		Operation string   `json:"operation"`
		Objects   []object `json:"objects"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		return reply(response, http.StatusUnprocessableEntity, map[string]any{"message": err.Error()})
	}
	if asked.Operation != "download" {
		return reply(response, http.StatusForbidden, map[string]any{"message": "this server is read-only"})
	}
	scheme := "http"
	if request.TLS != nil {
		scheme = "https"
	}
	for index := range asked.Objects {
		wanted := &asked.Objects[index]
		if !objectID.MatchString(wanted.Oid) {
			wanted.Error = map[string]any{"code": http.StatusUnprocessableEntity, "message": "not an object id"}
			continue
		}
		if info, err := os.Stat(r.object(wanted.Oid)); os.IsNotExist(err) {
			wanted.Error = map[string]any{"code": http.StatusNotFound, "message": "object does not exist"}
			continue
		} else if err != nil {
			return err
		} else {
			wanted.Size = info.Size()
		}
		download := map[string]any{"href": fmt.Sprintf("%s://%s/%s/info/lfs/objects/%s", scheme, request.Host, name, wanted.Oid)}
		// Whoever may ask may fetch: the same credentials, also when they came through ssh.
		if authorization := request.Header.Get("Authorization"); authorization != "" {
			download["header"] = map[string]string{"Authorization": authorization}
			wanted.Authenticated = true
		}
		wanted.Actions = map[string]any{"download": download}
	}
	return reply(response, http.StatusOK, map[string]any{"transfer": "basic", "objects": asked.Objects, "hash_algo": "sha256"})
}

func reply(response http.ResponseWriter, status int, body any) error {
	response.Header().Set("Content-Type", largeFiles)
	response.WriteHeader(status)
	return json.NewEncoder(response).Encode(body)
}

func plain(response http.ResponseWriter, status int, text string) error {
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	response.WriteHeader(status)
	_, err := fmt.Fprintln(response, text)
	return err
}

func same(given, wanted string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(wanted)) == 1
}

func basicAuthorization(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
