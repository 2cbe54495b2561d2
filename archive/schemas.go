package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// schemaFiles are the schemas of eCH-0160 version 1.2, which a SIP must carry.
var schemaFiles = []string{
	"ablieferung.xsd", "archivischeNotiz.xsd", "archivischerVorgang.xsd", "arelda.xsd", "base.xsd", "datei.xsd", "dokument.xsd", "dossier.xsd",
	"ordner.xsd", "ordnungssystem.xsd", "ordnungssystemposition.xsd", "paket.xsd", "provenienz.xsd", "zusatzDaten.xsd",
}

const (
	schemaVersion = "5.0" // of eCH-0160 version 1.2
	namespace     = "http://bar.admin.ch/arelda/v4"
	maxSchema     = 1 << 20 // octets of one file
)

// CheckSchemas reports why a folder does not hold the schemas of eCH-0160
// version 1.2. They are not part of the program: whoever runs it downloads them
// from ech.ch.
func CheckSchemas(dir string) error {
	if dir == "" {
		return errors.New("no folder of the eCH-0160 schemas is configured: download the 14 XSDs of eCH-0160 version 1.2 from www.ech.ch and name their folder as [archive] schemas")
	}
	for _, name := range schemaFiles {
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s has no %s: the folder must hold the 14 XSDs of eCH-0160 version 1.2 (www.ech.ch)", dir, name)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() > maxSchema:
			return fmt.Errorf("%s in %s is no schema of eCH-0160", name, dir)
		}
	}
	for name, needs := range map[string]string{"arelda.xsd": `"` + namespace + `"`, "paket.xsd": `"` + schemaVersion + `"`} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte(needs)) {
			return fmt.Errorf("%s in %s is not that of eCH-0160 version 1.2: %s does not stand in it", name, dir, needs)
		}
	}
	return nil
}
