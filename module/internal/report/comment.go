package report

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	maxPaths = 100 // that are told apart
	maxShown = 3   // that a comment names
)

// deeds are what a client did, as far as a comment says it.
type deeds struct {
	first, last time.Time
	requests    int
	categories  reputation.Categories
	counts      [32]int // by category
	paths       []uint64
	shown       []string // well-known ones
}

var seed = maphash.MakeSeed()

// add adds a violation.
func (d *deeds) add(v *Violation) {
	if d.requests == 0 || v.At.Before(d.first) {
		d.first = v.At
	}
	if v.At.After(d.last) {
		d.last = v.At
	}
	d.requests++
	d.categories |= reputation.CategoriesOf(v.Category)
	d.counts[v.Category%32]++
	if v.Path == "" || len(d.paths) == maxPaths {
		return
	}
	if hash := maphash.String(seed, v.Path); !slices.Contains(d.paths, hash) {
		d.paths = append(d.paths, hash)
		if _, known := probes[v.Path]; known && len(d.shown) < maxShown {
			d.shown = append(d.shown, v.Path)
		}
	}
}

// comment describes the deeds. It is made of fixed words, numbers and well-known paths: nothing in it comes from the
// client, from the site or from its visitors.
func (d *deeds) comment() string {
	var b strings.Builder
	b.WriteString("caddy: " + count(d.requests, "request"))
	if span := d.last.Sub(d.first).Round(time.Second); span > 0 {
		b.WriteString(" in " + strconv.Itoa(int(span/time.Second)) + " s")
	}
	var what []string
	for c := range d.categories.All() {
		word := words[c]
		if n := d.counts[c%32]; n < d.requests {
			word += " " + strconv.Itoa(n)
		}
		what = append(what, word)
	}
	b.WriteString(" (" + strings.Join(what, ", ") + ")")
	switch n := len(d.paths); {
	case n == maxPaths:
		fmt.Fprintf(&b, ", %d paths or more", n)
	case n > 1:
		fmt.Fprintf(&b, ", %d paths", n)
	}
	if len(d.shown) > 0 {
		b.WriteString(", e.g. " + strings.Join(d.shown, ", "))
	}
	return b.String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// words describe the categories. A category without one is described by its own word.
var words = func() map[reputation.Category]string {
	all := map[reputation.Category]string{
		reputation.Abuse:      "abuse of a website",
		reputation.Scanner:    "vulnerability scan",
		reputation.BruteForce: "failed log-ins",
		reputation.WebAttack:  "attack on a web application",
		reputation.Spam:       "spam in a web form",
		reputation.Bot:        "bad bot",
		reputation.DDoS:       "flood of requests",
		reputation.BotnetC2:   "requests of a botnet",
		reputation.Malware:    "requests of malware",
	}
	for c := range reputation.Categories(1<<32 - 1).All() {
		if all[c] == "" {
			all[c] = c.String()
		}
	}
	return all
}()

// probes are paths that scanners ask for on sites of any kind. A path that is not among them may name a person or
// something private, and is not repeated.
var probes = func() map[string]struct{} {
	set := make(map[string]struct{})
	for path := range strings.FieldsSeq(`
		/.env /.env.bak /.env.local /.env.production /.env.save /.env.old /api/.env /app/.env /backend/.env /laravel/.env
		/.git/config /.git/HEAD /.git/index /.git/ /.svn/entries /.svn/wc.db /.hg/hgrc /.DS_Store
		/.aws/credentials /.aws/config /.ssh/id_rsa /.docker/config.json /.npmrc /.htpasswd /.vscode/sftp.json
		/wp-login.php /xmlrpc.php /wp-config.php /wp-config.php.bak /wp-admin/ /wp-admin/install.php /wp-admin/setup-config.php
		/wordpress/wp-login.php /blog/wp-login.php /wp/wp-login.php /wp-includes/wlwmanifest.xml /wp-content/debug.log
		/phpmyadmin/ /phpmyadmin/index.php /phpMyAdmin/ /pma/ /adminer.php /mysql/ /myadmin/
		/phpinfo.php /info.php /phpinfo /_profiler/phpinfo /server-status /actuator/env /actuator/health /actuator/heapdump
		/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php /vendor/phpunit/src/Util/PHP/eval-stdin.php /eval-stdin.php
		/c99.php /r57.php /alfa3.php /alfa.php /shell.php /cmd.php /wso.php /upload.php /up.php
		/boaform/admin/formLogin /GponForm/diag_Form /HNAP1/ /cgi-bin/luci /cgi-bin/;stok=/locale /setup.cgi /goform/set_LimitClient_cfg
		/kcfinder/upload.php /ckfinder/ckfinder.html /fckeditor/editor/filemanager/connectors/php/connector.php
		/+CSCOE+/logon.html /+CSCOL+/Java.jar /dana-na/auth/url_default/welcome.cgi /remote/login /remote/fgt_lang /vpn/index.html
		/solr/admin/info/system /manager/html /jenkins/login /struts2-showcase/ /console/ /owa/auth/logon.aspx /autodiscover/autodiscover.json
		/backup.sql /backup.zip /backup.tar.gz /database.sql /db.sql /dump.sql /dump.sql.gz /mysql.sql /data.sql /site.tar.gz
		/config.json /config.php.bak /configuration.php.bak /credentials.json /secrets.json /web.config /sftp-config.json
		/_ignition/execute-solution /telescope/requests /admin/config.php /administrator/index.php /user/login /login.action
	`) {
		set[path] = struct{}{}
	}
	return set
}()
