//! How people open a CSV file in a spreadsheet, for the e-mail and the back office.
//!
//! A spreadsheet reads `19617.16` with the decimal sign of its region: in some regions it becomes 1,961,716. So the region
//! is set first.

/// A spreadsheet program, and what to do in it.
pub type Advice = (&'static str, &'static str);

/// Before the programs.
pub const WARNING: &str = "Do not double-click the file: the spreadsheet may misread amounts or split the lines in the \
                           wrong places. An export in the format Excel has no such problem.";

/// The programs.
pub const PROGRAMS: [Advice; 4] = [
    (
        "Excel",
        "In an empty workbook, choose Data › Get Data › Query Options › Current Workbook › Regional Settings, and set \
         English (United States). Then choose Data › From Text/CSV, select the file, set 65001: Unicode (UTF-8) and \
         Semicolon, and choose Load.",
    ),
    ("LibreOffice", "Open the file. Set Unicode (UTF-8), English (USA), and Semicolon as the only separator."),
    (
        "Google Sheets",
        "In an empty spreadsheet, choose File › Settings, and set the locale United States. Then choose File › Import, \
         upload the file, and set a semicolon as the custom separator.",
    ),
    (
        "Numbers",
        "In the Mac's Language & Region settings, set the number format 1,234,567.89. Then open the file. If it is not in \
         columns, choose Adjust Settings and set Semicolon.",
    ),
];

/// After any of them.
pub const CHECK: &str = "Then compare the totals: for each currency, the sum of the amounts must equal the total in \
                         the e-mail.";
