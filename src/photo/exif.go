package photo

import "encoding/binary"

// orientation reads the one thing that stays of EXIF: tag 0x0112 of the first directory, a SHORT from 1 to 8. Whatever is not exactly
// that counts as 1, upright, as in browsers: a picture with broken metadata is still a picture.
func orientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	entries := int(order.Uint16(tiff[at:]))
	for dir := tiff[at+2:]; entries > 0 && len(dir) >= 12; entries, dir = entries-1, dir[12:] {
		if order.Uint16(dir) != 0x0112 {
			continue
		}
		if v := order.Uint16(dir[8:]); order.Uint16(dir[2:]) == 3 && order.Uint32(dir[4:]) == 1 && v >= 1 && v <= 8 {
			return int(v)
		}
		return 1
	}
	return 1
}

// orientationOnly is an EXIF block of one tag, or nothing for a picture that is upright.
func orientationOnly(v int) []byte {
	if v == 1 {
		return nil
	}
	return []byte{
		'M', 'M', 0, '*', 0, 0, 0, 8, // the directory is at 8
		0, 1, // of one entry
		0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, byte(v), 0, 0, // Orientation, SHORT, one of them, padded to four bytes
		0, 0, 0, 0, // no further directory
	}
}
