package oat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	nonJoiner        = '\u200C'
	joiner           = '\u200D'
	combiningJoiner  = '\u034F' // what normalization inserts after 30 marks in a row
	textSelector     = '\uFE0E'
	emojiSelector    = '\uFE0F'
	blankCharacters  = "\u2800\U0001D159\U00016FE4\U00013441\U00013442" // of category So, Mn or Lo
	emojiOtherwise   = "#*0123456789\u203C\u2049\u2139\u3030"           // emoji that are no symbols
	viramaClass      = 9                                                // canonical combining class
	firstBeyondASCII = 0x80
)

// isInvisible reports whether r shows nothing of its own.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
		strings.ContainsRune(blankCharacters, r)
}

// joins reports whether r, which is at index i of s, is a joiner or a variation selector and
// has an effect there.
func joins(s string, i int, r rune) bool {
	switch r {
	case nonJoiner, joiner:
	case textSelector, emojiSelector:
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		return isPictograph(before) || strings.ContainsRune(emojiOtherwise, before)
	default:
		return false
	}
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
	base, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(s[:i], unicode.IsMark))
	switch {
	case r == joiner && isPictograph(base) && isPictograph(after):
		return true
	case !isJoined(base):
		return false
	}
	return isJoined(after) || norm.NFC.PropertiesString(string(before)).CCC() == viramaClass
}

// isPictograph reports whether r can be part of an emoji sequence: it is a symbol, or
// changes the skin color of one.
func isPictograph(r rune) bool {
	return r >= firstBeyondASCII && r != unicode.ReplacementChar && unicode.IsSymbol(r)
}

// isJoined reports whether r is a letter or a mark of a script whose letters join or form
// conjuncts.
func isJoined(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M) && unicode.In(r,
		unicode.Adlam, unicode.Arabic, unicode.Hanifi_Rohingya, unicode.Mandaic, unicode.Mongolian, unicode.Nko, unicode.Syriac,
		unicode.Bengali, unicode.Devanagari, unicode.Gujarati, unicode.Gurmukhi, unicode.Kannada, unicode.Khmer, unicode.Malayalam,
		unicode.Myanmar, unicode.Oriya, unicode.Sinhala, unicode.Tamil, unicode.Telugu)
}
