package deploy_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// packaging is what the tests read of .goreleaser.yaml. That it is a valid one is what the job `package` finds out.
type packaging struct {
	Builds   []struct{ Main, Binary string }
	Archives []struct{ Files []packaged }
	Nfpms    []struct {
		PackageName string `yaml:"package_name"`
		Bindir      string
		Conflicts   []string
		Scripts     map[string]string
		Contents    []packaged
	}
	Checksum struct {
		NameTemplate string `yaml:"name_template"`
	}
}

type packaged struct {
	Src, Dst, Type string
	FileInfo       struct{ Mode uint32 } `yaml:"file_info"`
}

func readPackaging(tb testing.TB) (p packaging) {
	tb.Helper()
	if err := yaml.Unmarshal(projectFile(tb, ".goreleaser.yaml"), &p); err != nil {
		tb.Fatal(err)
	}
	if len(p.Builds) != 1 || len(p.Archives) != 1 || len(p.Nfpms) != 1 {
		tb.Fatal("the tests are for one build, one kind of archive and one package")
	}
	return p
}

func projectFile(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TestPackagedFiles proves that what goes into archives and packages exists, but for what `make man` makes.
func TestPackagedFiles(t *testing.T) {
	p := readPackaging(t)
	files := slices.Concat(p.Nfpms[0].Contents, p.Archives[0].Files)
	for _, script := range p.Nfpms[0].Scripts {
		files = append(files, packaged{Src: script})
	}
	made := 0
	for _, file := range files {
		if strings.HasPrefix(file.Src, ".bin/share/") {
			made++
			continue
		}
		if len(expand(t, file.Src)) == 0 {
			t.Errorf("there is no %s", file.Src)
		}
	}
	if made == 0 {
		t.Error("there are no man pages in it")
	}
	for _, file := range p.Nfpms[0].Contents {
		if file.FileInfo.Mode != 0o644 || file.Type != "" {
			t.Errorf("%s would have the rights, or the times, that it has on the machine which builds", file.Dst)
		}
	}
}

// expand lists the files under a pattern of .goreleaser.yaml, of which `**` stands at the end only.
func expand(tb testing.TB, pattern string) (names []string) {
	tb.Helper()
	dir, deep := strings.CutSuffix(pattern, "/**")
	if !deep {
		found, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		return found
	}
	if err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return names
}

// TestPackagedPages holds that the pages in archives and in the package lead to each other there too, and that no test is among them.
func TestPackagedPages(t *testing.T) {
	p := readPackaging(t)
	const docs = "/usr/share/doc/caddy-ip-reputation/"
	archive, deb := map[string]string{}, map[string]string{} // where a file is, and which it is
	for _, file := range p.Archives[0].Files {
		for _, name := range expand(t, file.Src) {
			archive[name] = name
		}
	}
	for _, file := range p.Nfpms[0].Contents {
		if !strings.HasPrefix(file.Dst, docs) {
			continue
		}
		dir, _, many := strings.Cut(file.Src, "*")
		for _, name := range expand(t, file.Src) {
			dst := file.Dst
			if many {
				dst = path.Join(dst, strings.TrimPrefix(name, dir))
			}
			deb[strings.TrimPrefix(dst, docs)] = name
		}
	}
	link := regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)\s]*)?\)`)
	for kind, files := range map[string]map[string]string{"archives": archive, "the Debian package": deb} {
		pages, links := 0, 0
		for at, name := range files {
			if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "secrets") {
				t.Errorf("%s: %s belongs to those who work on it", kind, name)
			}
			if filepath.Ext(name) != ".md" {
				continue
			}
			pages++
			for _, m := range link.FindAllStringSubmatch(string(projectFile(t, name)), -1) {
				if strings.Contains(m[1], ":") {
					continue
				}
				links++
				if target := path.Join(path.Dir(at), m[1]); files[target] == "" && !isDir(files, target) {
					t.Errorf("%s: the link of %s to %s leads nowhere", kind, at, m[1])
				}
			}
		}
		if pages < 10 || links < 50 {
			t.Errorf("%s: found %d pages and %d links only", kind, pages, links)
		}
	}
}

func isDir(files map[string]string, name string) bool {
	for at := range files {
		if strings.HasPrefix(at, strings.TrimSuffix(name, "/")+"/") {
			return true
		}
	}
	return false
}

// TestSameGo holds that packages, the image and the tests are made with one Go, to the last digit.
func TestSameGo(t *testing.T) {
	image := regexp.MustCompile(`golang:(\d+\.\d+\.\d+)-\S+@sha256:\S+`).FindStringSubmatch(deployed(t, "Dockerfile"))
	if image == nil {
		t.Fatal("the Dockerfile names no exact Go")
	}
	release := regexp.MustCompile(`(?m)^ *(?:go-version|go-version-file|check-latest): *["']?([^"'\s]+)`).FindAllStringSubmatch(deployed(t, ".github/workflows/release.yml"), -1)
	if len(release) != 1 || release[0][1] != image[1] {
		t.Errorf("release.yml takes %v, the Dockerfile Go %s: what is released must be made with one", release, image[1])
	}
	workflows, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range workflows {
		for _, used := range regexp.MustCompile(`golang:\S+`).FindAllString(deployed(t, name), -1) {
			if used != image[0] {
				t.Errorf("%s runs in %s, the Dockerfile builds in %s", name, used, image[0])
			}
		}
	}
}

// TestDebianPackage holds that the package keeps away from what Debian's deletes when it is purged, and that the package, its
// scripts, its user and its service speak of the same folders.
func TestDebianPackage(t *testing.T) {
	p := readPackaging(t).Nfpms[0]
	if p.Bindir != "/usr/bin" || len(p.Conflicts) != 1 || p.Conflicts[0] != "caddy" {
		t.Errorf("/usr/bin/caddy is Debian's: it is in %s, in conflict with %v", p.Bindir, p.Conflicts)
	}
	theirs := regexp.MustCompile(`/(etc|var/lib|var/log)/caddy(/|\s|$)`)
	texts := map[string]string{"deploy/debian/Caddyfile": "", "deploy/debian/sysusers.conf": ""}
	for _, script := range p.Scripts {
		texts[script] = ""
	}
	for _, content := range p.Contents {
		if theirs.MatchString(content.Dst) {
			t.Errorf("%s is deleted when Debian's package is purged", content.Dst)
		}
		if filepath.Ext(content.Src) == ".service" {
			texts[content.Src] = ""
		}
	}
	for name := range texts {
		texts[name] = string(projectFile(t, name))
		if found := theirs.FindString(texts[name]); found != "" {
			t.Errorf("%s names %q, which is deleted when Debian's package is purged", name, found)
		}
	}
	postinst, sysusers := texts[p.Scripts["postinstall"]], texts["deploy/debian/sysusers.conf"]
	unit := texts["deploy/systemd/caddy-ip-reputation.service"]
	config := regexp.MustCompile(`(?m)^config=(/\S+)$`).FindStringSubmatch(postinst)
	user := regexp.MustCompile(`(?m)^u (\S+) .* (/var/lib/\S+) `).FindStringSubmatch(sysusers)
	if config == nil || user == nil {
		t.Fatal("there is no Caddyfile or no user")
	}
	for _, want := range []string{"/usr/bin/caddy ", config[1], "User=" + user[1] + "\n", "StateDirectory=" + filepath.Base(user[2])} {
		if !strings.Contains(unit, want) {
			t.Errorf("the service does not say %q", want)
		}
	}
}

// TestVerifyingARelease proves that what users are told to verify is what a release signs.
func TestVerifyingARelease(t *testing.T) {
	checksums := readPackaging(t).Checksum.NameTemplate
	const identity = "https://github.com/caddy-ip-reputation/caddy-ip-reputation/.github/workflows/release.yml@refs/tags/v"
	for _, want := range []string{"cosign verify-blob " + checksums + " --bundle " + checksums + ".sigstore.json", identity} {
		if !strings.Contains(string(projectFile(t, "SECURITY.md")), want) {
			t.Errorf("SECURITY.md does not say %q", want)
		}
	}
	if !strings.Contains(string(projectFile(t, "README.md")), "](SECURITY.md#verifying-a-release)") {
		t.Error("README.md does not lead there")
	}
	if !strings.Contains(string(projectFile(t, ".github/workflows/release.yml")), "subject-checksums: dist/"+checksums) {
		t.Error("what is attested is not what is signed")
	}
}
