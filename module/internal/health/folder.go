package health

func (r *Report) folder(f Folder) {
	c := Check{Type: "system", Value: "ok", Since: f.Since}
	var w *Warning
	switch {
	case f.Owner != "":
		const text = "another process uses the data folder, so that this one works from memory and a restart forgets what it " +
			"learns and is told: let each Caddy have a data folder of its own"
		c.Value, w = "in_use", warning(FolderInUse, "", text)
		w.detail("%s (set XDG_DATA_HOME); %s has %s since %s", text, f.Owner, f.Path, FormatTime(f.Since))
	case f.Problem != "":
		const text = "the data folder cannot be locked, so that another process could use it, too: "
		c.Value, w = "unlocked", warning(FolderUnlocked, "", text+"see the log for why")
		w.detail("%s%s", text, f.Problem)
	}
	r.check("folder:lock", c, w)
}
