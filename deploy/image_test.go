package deploy_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pinned is an image that is always the same one.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}$|^gcr\.io/distroless/[a-z0-9-]+:nonroot@sha256:[0-9a-f]{64}$`)

// instructions are those of a Dockerfile, without comments and with continued lines as one.
func instructions(text string) (found [][2]string) {
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, " ")
	for line := range strings.Lines(text) {
		if word, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found = append(found, [2]string{word, strings.TrimSpace(rest)})
		}
	}
	return found
}

func TestDockerfile(t *testing.T) {
	last := map[string]string{} // of the image itself
	labels, stages := "", 0
	if syntax := regexp.MustCompile(`(?mi)^[ \t]*#[ \t]*syntax[ \t]*=[ \t]*(\S*)`).FindStringSubmatch(deployed(t, "Dockerfile")); syntax != nil && !pinned.MatchString(syntax[1]) {
		t.Errorf("what reads the Dockerfile, %s, is not pinned by version and digest", syntax[1])
	}
	for _, in := range instructions(deployed(t, "Dockerfile")) {
		word, rest := in[0], in[1]
		switch word {
		case "FROM":
			fields := slices.DeleteFunc(strings.Fields(rest), func(f string) bool { return strings.HasPrefix(f, "--") })
			if !pinned.MatchString(fields[0]) {
				t.Errorf("%s is not pinned by version and digest", fields[0])
			}
			last, stages = map[string]string{}, stages+1
		case "ADD":
			t.Errorf("ADD unpacks and fetches: use COPY for %s", rest)
		case "LABEL":
			labels += " " + rest
		}
		last[word] = rest
	}
	if stages != 2 {
		t.Errorf("there are %d stages", stages)
	}
	if !regexp.MustCompile(`^[1-9]\d+:[1-9]\d+$`).MatchString(last["USER"]) {
		t.Errorf("the user is %q: it must be a number, for runAsNonRoot, and not root's", last["USER"])
	}
	for _, word := range []string{"CMD", "HEALTHCHECK"} {
		words := last[word][max(strings.Index(last[word], "["), 0):]
		var argv []string
		if json.Unmarshal([]byte(words), &argv) != nil || len(argv) == 0 || argv[0] != "/usr/bin/caddy" {
			t.Errorf("%s %s: there is no shell, so it must be a list that begins with /usr/bin/caddy", word, last[word])
		}
	}
	if last["VOLUME"] != `["/data", "/config"]` || last["RUN"] != "" || last["ENTRYPOINT"] != "" {
		t.Errorf("the image has %v", last)
	}
	for _, name := range []string{"title", "description", "url", "source", "documentation", "licenses", "version", "revision", "base.name"} {
		if !strings.Contains(labels, " org.opencontainers.image."+name+`="`) {
			t.Errorf("there is no label %s", name)
		}
	}
	if image, mod := regexp.MustCompile(`golang:(\d+\.\d+)`).FindStringSubmatch(deployed(t, "Dockerfile")),
		regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(deployed(t, "go.mod")); image[1] != mod[1] {
		t.Errorf("it is built with Go %s, go.mod asks for %s", image[1], mod[1])
	}
	if ignore := deployed(t, ".dockerignore"); !strings.Contains("\n"+ignore, "\n*\n!") {
		t.Error(".dockerignore must name what is let in, or secrets get into the context")
	} else if !strings.Contains(ignore, "\n!Makefile\n") {
		t.Error(".dockerignore leaves out the Makefile, which builds the image")
	}
	if !strings.Contains(deployed(t, "module/internal/metrics/build.go"), "var stampedVersion, stampedRevision string") {
		t.Error("the linker sets variables that do not exist: the image would not know its version")
	}
	build := regexp.MustCompile(`CGO_ENABLED=0 GOOS=\$TARGETOS GOARCH=\$TARGETARCH\s+make xcaddy OUTPUT=/out/usr/bin/caddy VERSION="\$VERSION" REVISION="\$REVISION"`)
	if !slices.ContainsFunc(instructions(deployed(t, "Dockerfile")), func(in [2]string) bool { return in[0] == "RUN" && build.MatchString(in[1]) }) {
		t.Error("the image is not built by `make xcaddy`, or without its version")
	}
	makefile := deployed(t, "Makefile")
	for _, want := range []string{"-trimpath -tags nobadger,nomysql,nopgx", "module/internal/metrics.stampedVersion=$(VERSION) ", "module/internal/metrics.stampedRevision=$(REVISION)"} {
		if !strings.Contains(makefile, want) {
			t.Errorf("the Makefile does not build with %q", want)
		}
	}
}
