#!/usr/bin/env Rscript
# Small simulated cohorts and what R says of them. Usage: Rscript make_variants.R FOLDER
# README.md beside this file tells what each cohort is made to test.
suppressMessages({library(car); library(emmeans); library(psych); library(jsonlite)})
options(contrasts = c("contr.sum", "contr.poly"))
emm_options(msg.interaction = FALSE)

folder <- commandArgs(TRUE)[1]
if (is.na(folder)) folder <- "."
muscles <- c("MFSS", "LC", "SSCap", "SPCap", "LS", "SCM", "TR")
sides <- c("L", "R")

# ---- simulation -----------------------------------------------------------------------------

simulate_people <- function(n, n_women) {
  data.frame(
    participant_id = sprintf("sub-%02d", seq_len(n)),
    sex = sample(rep(c("F", "M"), c(n_women, n - n_women))),
    age = round(runif(n, 19, 66), 1),
    bmi = round(pmin(pmax(rnorm(n, 26, 4), 18), 41), 2),
    group = sample(rep_len(c("control", "chronic", "acute"), n))
  )
}

# A person is fatter in all muscles or in none; the two sides of a muscle differ a little.
simulate_muscles <- function(people) {
  mean_percent <- c(17, 13, 15, 11, 7, 9, 8.5)
  of_age <- c(.14, .12, .13, .06, .03, .05, .04)
  of_bmi <- c(.05, .10, .08, .12, .02, .15, .10)
  of_woman <- c(1.0, .6, 2.2, 1.9, .4, .8, .9)
  volume_ml <- c(18, 7, 24, 16, 12, 28, 20)
  rows <- expand.grid(participant_id = people$participant_id, muscle = muscles, hemi = sides,
                      stringsAsFactors = FALSE)
  i <- match(rows$participant_id, people$participant_id)
  j <- match(rows$muscle, muscles)
  woman <- people$sex == "F"
  person <- rnorm(nrow(people), 0, 1.6)
  own <- matrix(rnorm(nrow(people) * 7, 0, 1.3), ncol = 7)
  big <- exp(rnorm(nrow(people), ifelse(woman, -.15, .15), .12))
  mfi <- mean_percent[j] + of_age[j] * (people$age[i] - 40) + of_bmi[j] * (people$bmi[i] - 26) +
    of_woman[j] * (woman[i] - .5) + person[i] + own[cbind(i, j)] + rnorm(nrow(rows), 0, .7)
  volume <- volume_ml[j] * big[i] * exp(rnorm(nrow(rows), 0, .06))
  rows$mfi <- sprintf("%.5f", pmax(mfi, .3))
  rows$volume <- sprintf("%.4f", volume)
  rows[order(i, j, rows$hemi), ]
}

write_tsv <- function(table, name) {
  dir.create(dirname(file.path(folder, name)), FALSE, TRUE)
  write.table(table, file.path(folder, name), sep = "\t", quote = FALSE, row.names = FALSE,
              na = "n/a", fileEncoding = "UTF-8")
}

make_complete <- function() {
  people <- simulate_people(40, 24)
  write_tsv(people, "complete/participants.tsv")
  write_tsv(simulate_muscles(people), "complete/muscles.tsv")
}

spell_sex <- function(sex) {
  words <- list(F = c("female", "F", " F", "Female", "f", "FEMALE "),
                M = c("Male", "M", "male", "m ", "MALE"))
  unlist(Map(function(one, k) words[[one]][(k - 1) %% length(words[[one]]) + 1],
             sex, ave(seq_along(sex), sex, FUN = seq_along)), use.names = FALSE)
}

as_height_and_weight <- function(people) {
  height_cm <- round(rnorm(nrow(people), ifelse(people$sex == "F", 165, 178), 6), 1)
  data.frame(people[c("participant_id", "sex", "age")], height = height_cm,
             weight = round(people$bmi * (height_cm / 100)^2, 1))
}

make_missing <- function() {
  people <- simulate_people(44, 25)
  rows <- simulate_muscles(people)
  table <- as_height_and_weight(people)
  table$sex <- spell_sex(table$sex)
  table$age[table$participant_id == "sub-05"] <- NA
  table$weight[table$participant_id == "sub-09"] <- NA
  table$sex[table$participant_id == "sub-14"] <- NA
  in_table <- !table$participant_id %in% c("sub-11", "sub-37")    # these have muscles only
  in_rows <- !rows$participant_id %in% c("sub-20", "sub-41")      # these are known by name only
  cells <- rbind(
    c("sub-01", "TR", "L"), c("sub-02", "LC", "L"), c("sub-02", "LC", "R"),
    c("sub-12", "SCM", "R"), c("sub-16", "MFSS", "L"), c("sub-16", "LS", "R"),
    c("sub-22", "TR", "L"), c("sub-22", "TR", "R"), c("sub-28", "SPCap", "R"),
    c("sub-33", "TR", "R"), c("sub-37", "SSCap", "L"))
  rows_gone <- rbind(
    c("sub-03", "LS", "L"), c("sub-07", "TR", "L"), c("sub-07", "TR", "R"),
    c("sub-18", "SSCap", "R"), c("sub-22", "LC", "L"), c("sub-30", "LS", "L"),
    c("sub-30", "LS", "R"), c("sub-40", "MFSS", "R"))
  key <- paste(rows$participant_id, rows$muscle, rows$hemi)
  empty <- key %in% apply(cells, 1, paste, collapse = " ") | rows$participant_id == "sub-25"
  rows$mfi[empty] <- rows$volume[empty] <- NA
  gone <- key %in% apply(rows_gone, 1, paste, collapse = " ")
  kept <- table[in_table, ]
  write_tsv(kept[sample(nrow(kept)), ], "missing/participants.tsv")
  write_tsv(rows[in_rows & !gone, ], "missing/muscles.tsv")
}

make_sessions <- function() {
  people <- simulate_people(40, 21)
  table <- as_height_and_weight(people)
  first <- cbind(session_id = "ses-01", simulate_muscles(people))
  later <- people
  later$age <- round(people$age + runif(40, 1.2, 2.8), 1)
  later$bmi <- people$bmi + rnorm(40, .4, .8)
  second <- cbind(session_id = "ses-02", simulate_muscles(later))
  first <- first[!first$participant_id %in% c("sub-08", "sub-31"), ]
  second <- second[!second$participant_id %in% c("sub-04", "sub-17", "sub-26", "sub-39"), ]
  rows <- rbind(first, second)
  rows <- rows[c("participant_id", "session_id", "muscle", "hemi", "mfi", "volume")]
  of_session <- rbind(
    data.frame(participant_id = table$participant_id, session_id = "ses-01", age = table$age,
               weight = table$weight),
    data.frame(participant_id = table$participant_id, session_id = "ses-02", age = later$age,
               weight = round(later$bmi * (table$height / 100)^2, 1)))
  without <- c("sub-06", "sub-23")                                # no sessions.tsv of their own
  of_session <- of_session[!of_session$participant_id %in% without, ]
  write_tsv(table, "sessions/participants.tsv")
  write_tsv(of_session[order(of_session$participant_id), ], "sessions/sessions.tsv")
  write_tsv(rows, "sessions/muscles.tsv")
}

# ---- what is written is read back -----------------------------------------------------------

read_tsv <- function(name) {
  read.delim(file.path(folder, name), na.strings = "n/a", stringsAsFactors = FALSE,
             strip.white = TRUE, colClasses = c(participant_id = "character"))
}

read_people <- function(variant, session = NULL) {
  people <- read_tsv(file.path(variant, "participants.tsv"))
  extra <- file.path(variant, "sessions.tsv")
  if (file.exists(file.path(folder, extra))) {
    own <- read_tsv(extra)
    own <- own[own$session_id == session, ]
    i <- match(people$participant_id, own$participant_id)
    for (name in c("age", "weight"))
      people[[name]] <- ifelse(is.na(i), people[[name]], own[[name]][i])
  }
  if (is.null(people$bmi)) people$bmi <- people$weight / (people$height / 100)^2
  people$sex <- factor(toupper(substr(people$sex, 1, 1)), levels = c("F", "M"))
  people
}

read_variant <- function(variant, measure = "mfi", missing = "both", session = NULL) {
  people <- read_people(variant, session)
  rows <- read_tsv(file.path(variant, "muscles.tsv"))
  if (!is.null(session)) rows <- rows[rows$session_id == session, ]
  ids <- sort(unique(rows$participant_id), method = "radix")
  cube <- array(NA_real_, c(length(ids), 7, 2), list(ids, muscles, sides))
  cube[cbind(rows$participant_id, rows$muscle, rows$hemi)] <- rows[[measure]]
  values <- apply(cube, 1:2, mean, na.rm = missing == "any")
  values[is.nan(values)] <- NA
  data <- data.frame(participant_id = ids, people[match(ids, people$participant_id), -1], values)
  data <- data[rowSums(!is.na(values)) > 0, ]
  if (missing == "complete") data <- complete_in(data, muscles)
  rownames(data) <- NULL
  data
}

complete_in <- function(data, columns, covariates = c("sex", "age", "bmi"))
  data[complete.cases(data[c(covariates, columns)]), ]

# ---- repeated measures ----------------------------------------------------------------------

# Effects of the within stratum begin with "muscle", as car sees them in another order.
within_name <- function(term) if (term == "intercept") "muscle" else paste0("muscle:", term)

fit_all <- function(data, formula) {
  data$all <- as.matrix(data[muscles])
  eval(bquote(lm(.(update(formula, all ~ .)), data)))             # emmeans wants the formula itself
}

epsilons <- function(fit, gg) {
  n <- nrow(fit$model); dfe <- fit$df.residual; p <- 6
  hf <- function(count) min(1, (count * p * gg - 2) / (p * (dfe - p * gg)))
  c(none = 1, greenhouse_geisser = gg, huynh_feldt = hf(n), huynh_feldt_lecoutre = hf(dfe + 1),
    lower_bound = 1 / p)
}

rm_tables <- function(data, formula, label) {
  fit <- fit_all(data, formula)
  anova <- Anova(fit, idata = data.frame(muscle = factor(muscles, muscles)), idesign = ~muscle,
                 type = 3)
  found <- suppressWarnings(summary(anova))
  tests <- unclass(found$univariate.tests)
  eps <- epsilons(fit, found$pval.adjustments[1, "GG eps"])
  stopifnot(all.equal(min(1, found$pval.adjustments[1, "HF eps"]), eps[["huynh_feldt_lecoutre"]],
                      tolerance = 1e-9))
  terms <- c("intercept", attr(terms(fit), "term.labels"))
  in_car <- c("(Intercept)", terms[-1])
  within_car <- c("muscle", paste0(terms[-1], ":muscle"))
  if (!all(within_car %in% rownames(tests))) within_car[-1] <- paste0("muscle:", terms[-1])
  between <- do.call(rbind, Map(function(term, row) {
    one <- tests[row, ]
    data.frame(covariates = label, stratum = "between", effect = term, correction = "none",
               epsilon = NA, df1 = one[["num Df"]], df2 = one[["den Df"]],
               ss = one[["Sum Sq"]], f = one[["F value"]], p = one[["Pr(>F)"]],
               partial_eta_sq = one[["Sum Sq"]] / (one[["Sum Sq"]] + one[["Error SS"]]))
  }, terms, in_car))
  within <- do.call(rbind, Map(function(term, row) {
    one <- tests[row, ]
    df1 <- eps * one[["num Df"]]; df2 <- eps * one[["den Df"]]
    data.frame(covariates = label, stratum = "within", effect = within_name(term),
               correction = names(eps), epsilon = eps, df1 = df1, df2 = df2,
               ss = one[["Sum Sq"]], f = one[["F value"]],
               p = pf(one[["F value"]], df1, df2, lower.tail = FALSE),
               partial_eta_sq = one[["Sum Sq"]] / (one[["Sum Sq"]] + one[["Error SS"]]))
  }, terms, within_car))
  in_adjusted <- found$pval.adjustments[within_car, "Pr(>F[GG])"]
  stopifnot(all.equal(as.numeric(in_adjusted), within$p[within$correction == "greenhouse_geisser"]))
  list(rmancova = rbind(within, between),
       multivariate = fill(Map(function(term, row)
         multivariate(found$multivariate.tests[[row]], label, within_name(term)),
         terms, within_car)),
       sphericity = sphericity(data, fit, found, eps, label))
}

# The four criteria with R's own approximations; they agree where the effect has one df.
multivariate <- function(test, label, effect) {
  eigen_values <- Re(eigen(qr.coef(qr(test$SSPE), test$SSPH), symmetric = FALSE)$values)
  args <- list(eigen_values, test$df, test$df.residual)
  found <- sapply(list(pillai = stats:::Pillai, wilks = stats:::Wilks, hotelling = stats:::HL,
                       roy = stats:::Roy), do.call, args)
  p <- pf(found[2, ], found[3, ], found[4, ], lower.tail = FALSE)
  row <- data.frame(covariates = label, effect = effect, t(found[1, ]), f = found[2, "pillai"],
                    df1 = found[3, "pillai"], df2 = found[4, "pillai"], p = p[["pillai"]])
  if (test$df == 1) {
    stopifnot(diff(range(found[2, ])) < 1e-7 * max(found[2, ]))
    return(row)
  }
  # Columns f to p are those of Pillai; the other criteria have their own approximations.
  named <- function(prefix, i) setNames(found[i, ], paste0(prefix, "_", colnames(found)))
  data.frame(row, t(c(named("f", 2), named("df1", 3), named("df2", 4),
                      setNames(p, paste0("p_", names(p))))))
}

sphericity <- function(data, fit, found, eps, label) {
  p <- 6; dfe <- fit$df.residual
  w <- found$sphericity.tests[1, "Test statistic"]
  stopifnot(all.equal(w, unname(mauchly.test(fit, X = ~1)$statistic)))
  rho <- 1 - (2 * p^2 + p + 2) / (6 * p * dfe)
  chi2 <- -dfe * rho * log(w)
  df <- p * (p + 1) / 2 - 1
  second <- (p + 2) * (p - 1) * (p - 2) * (2 * p^3 + 6 * p^2 + 3 * p + 2) / (288 * (dfe * p * rho)^2)
  tails <- pchisq(chi2, c(df, df + 4), lower.tail = FALSE)
  errors <- unclass(found$univariate.tests)
  row <- data.frame(
    covariates = label, n = nrow(data), n_f = sum(data$sex == "F"), n_m = sum(data$sex == "M"),
    rank = fit$rank, df_error_between = dfe, df_error_within = p * dfe,
    ss_error_between = errors["(Intercept)", "Error SS"],
    ss_error_within = errors["muscle", "Error SS"], w = w, chi2 = chi2, df = df,
    p_chi2 = tails[1], p_chi2_second_order = tails[1] + second * (tails[2] - tails[1]),
    t(eps[-1]))
  row
}

centre <- function(data, covariates) {
  for (name in covariates) data[[name]] <- data[[name]] - mean(data[[name]])
  data
}

both_ways <- function(data, formula, covariates) {
  raw <- rm_tables(data, formula, "raw")
  centred <- rm_tables(centre(data, covariates), formula, "centred")
  tables <- Map(rbind, raw, centred)
  for (name in covariates) tables$sphericity[[paste0("mean_", name)]] <- mean(data[[name]])
  tables
}

emm_rows <- function(means, factor, levels) {
  table <- as.data.frame(summary(means, infer = c(TRUE, TRUE)))
  data.frame(factor = factor, level = levels, estimate = table[[intersect(c("emmean", "estimate"),
             names(table))]], se = table$SE, df = table$df, ci_lower = table$lower.CL,
             ci_upper = table$upper.CL, t = table$t.ratio, p = table$p.value)
}

# Whether covariates are centred makes no difference to means at their means.
emm_table <- function(data) {
  data$mean <- rowMeans(data[muscles])
  of_sex <- emmeans(lm(mean ~ sex + age + bmi, data), ~sex)
  of_muscle <- emmeans(fit_all(data, ~ sex + age + bmi), ~rep.meas, mult.name = "rep.meas")
  rbind(emm_rows(of_sex, "sex", c("F", "M")), emm_rows(pairs(of_sex), "sex", "F-M"),
        emm_rows(of_muscle, "muscle", muscles))
}

# ---- one muscle, two muscles ----------------------------------------------------------------

ancova_row <- function(data, muscle) {
  if (muscle == "mean") data$mean <- rowMeans(data[muscles])
  data <- complete_in(data, muscle)
  data$y <- data[[muscle]]
  fit <- lm(y ~ sex + age + bmi, data)
  tests <- Anova(fit, type = 3)
  f <- setNames(tests[["F value"]], rownames(tests))
  p <- setNames(tests[["Pr(>F)"]], rownames(tests))
  ss <- setNames(tests[["Sum Sq"]], rownames(tests))
  means <- emmeans(fit, ~sex)
  of_sex <- as.data.frame(means)
  difference <- as.data.frame(pairs(means))
  data.frame(
    muscle = muscle, n = nrow(data), df2 = fit$df.residual, f_sex = f[["sex"]],
    p_sex = p[["sex"]], ss_sex = ss[["sex"]], ss_error = ss[["Residuals"]],
    pes_sex = ss[["sex"]] / (ss[["sex"]] + ss[["Residuals"]]), f_age = f[["age"]],
    p_age = p[["age"]], f_bmi = f[["bmi"]], p_bmi = p[["bmi"]],
    f_intercept = f[["(Intercept)"]], r2 = summary(fit)$r.squared,
    adj_r2 = summary(fit)$adj.r.squared, b_age = coef(fit)[["age"]], b_bmi = coef(fit)[["bmi"]],
    emm_f = of_sex$emmean[1], emm_f_se = of_sex$SE[1], emm_m = of_sex$emmean[2],
    emm_m_se = of_sex$SE[2], diff_f_minus_m = difference$estimate, diff_se = difference$SE,
    t = difference$t.ratio, mean_age = mean(data$age), mean_bmi = mean(data$bmi))
}

partial_of <- function(data, muscle, x) {
  z <- setdiff(c("age", "bmi"), x)
  data <- complete_in(data, muscle)
  data$woman <- as.numeric(data$sex == "F")
  r <- partial.r(data[c(muscle, x, "woman", z)], 1:2, 3:4)[1, 2]
  given <- as.matrix(data[c("woman", z)])
  of_x <- resid(lm(data[[x]] ~ given))
  of_muscle <- resid(lm(data[[muscle]] ~ given))
  stopifnot(abs(cor(of_x, of_muscle) - r) < 1e-10)
  df <- nrow(data) - 4
  t <- r * sqrt(df / (1 - r^2))
  ends <- tanh(atanh(r) + c(-1, 1) * qnorm(.975) / sqrt(nrow(data) - 5))
  list(row = data.frame(muscle = muscle, x = x, controlling = paste0("sex,", z), n = nrow(data),
                        df = df, r = r, t = t, p = 2 * pt(abs(t), df, lower.tail = FALSE),
                        ci_lower = ends[1], ci_upper = ends[2],
                        resid_slope = sum(of_x * of_muscle) / sum(of_x^2)),
       residuals = data.frame(participant_id = data$participant_id, muscle = muscle, x = x,
                              resid_x = signif(of_x, 13), resid_mfi = signif(of_muscle, 13)))
}

pairs_of <- function(data, make) {
  do.call(rbind, combn(muscles, 2, simplify = FALSE, FUN = function(pair) {
    own <- data[complete.cases(data[pair]), ]
    data.frame(muscle_a = pair[1], muscle_b = pair[2], n = nrow(own),
               make(own[[pair[1]]], own[[pair[2]]]))
  }))
}

t_row <- function(a, b) {
  test <- t.test(a, b, paired = TRUE)
  data.frame(mean_diff = mean(a - b), sd_diff = sd(a - b), se_diff = test$stderr,
             t = test$statistic[[1]], df = test$parameter[[1]], p = test$p.value,
             ci_lower = test$conf.int[1], ci_upper = test$conf.int[2])
}

cor_row <- function(a, b) {
  test <- cor.test(a, b)
  data.frame(r = test$estimate[[1]], t = test$statistic[[1]], df = test$parameter[[1]],
             p = test$p.value, ci_lower = test$conf.int[1], ci_upper = test$conf.int[2])
}

descriptives_row <- function(data, muscle) {
  x <- data[[muscle]][!is.na(data[[muscle]])]
  data.frame(muscle = muscle, n = length(x), mean = mean(x), sd = sd(x),
             se = sd(x) / sqrt(length(x)), min = min(x), max = max(x))
}

# ---- files ----------------------------------------------------------------------------------

expected_of <- function(data) {
  listwise <- complete_in(data, muscles)
  model <- both_ways(listwise, ~ sex + age + bmi, c("age", "bmi"))
  partial <- unlist(lapply(c("age", "bmi"), function(x)
    lapply(muscles, function(muscle) partial_of(data, muscle, x))), recursive = FALSE)
  list(descriptives = do.call(rbind, lapply(muscles, descriptives_row, data = data)),
       rmancova = model$rmancova, sphericity = model$sphericity,
       multivariate = model$multivariate,
       emm = emm_table(listwise),
       ancova = do.call(rbind, lapply(c(muscles, "mean"), ancova_row, data = data)),
       pairedt = pairs_of(data, t_row), musclecorr = pairs_of(data, cor_row),
       partialcorr = do.call(rbind, lapply(partial, `[[`, "row")),
       residuals = do.call(rbind, lapply(partial, `[[`, "residuals")))
}

factor_ancova <- function(data, muscle) {
  if (muscle == "mean") data$mean <- rowMeans(data[muscles])
  data$y <- data[[muscle]]
  tests <- Anova(lm(y ~ group + sex + age, data), type = 3)
  rows <- setdiff(rownames(tests), "Residuals")
  data.frame(muscle = muscle, effect = sub("(Intercept)", "intercept", rows, fixed = TRUE),
             df1 = tests[rows, "Df"], df2 = tests["Residuals", "Df"], ss = tests[rows, "Sum Sq"],
             ss_error = tests["Residuals", "Sum Sq"], f = tests[rows, "F value"],
             p = tests[rows, "Pr(>F)"])
}

expected_of_factor <- function(data) {
  data$bmi <- NULL
  data$group <- factor(data$group)
  model <- both_ways(data, ~ group + sex + age, "age")
  c(model, list(ancova = do.call(rbind, lapply(c(muscles, "mean"), factor_ancova, data = data))))
}

fill <- function(rows) {
  names <- unique(unlist(lapply(rows, names)))
  do.call(rbind, lapply(rows, function(row) { row[setdiff(names, names(row))] <- NA; row[names] }))
}

write_expected <- function(tables, name) {
  columns <- lapply(tables, as.list)
  text <- toJSON(columns, digits = NA, na = "null", auto_unbox = FALSE, dataframe = "columns")
  text <- gsub("],\"", "],\n\"", text, fixed = TRUE)
  writeLines(text, file.path(folder, paste0("expected_", name, ".json")))
}

main <- function() {
  set.seed(20210817)
  make_complete(); make_missing(); make_sessions()
  write_expected(expected_of(read_variant("complete")), "complete")
  write_expected(expected_of(read_variant("complete", "volume")), "complete_volume")
  for (rule in c("both", "complete", "any"))
    write_expected(expected_of(read_variant("missing", missing = rule)), paste0("missing_", rule))
  for (session in c("01", "02"))
    write_expected(expected_of(read_variant("sessions", session = paste0("ses-", session))),
                   paste0("sessions_", session))
  write_expected(expected_of_factor(read_variant("complete")), "factor")
}

if (sys.nframe() == 0) main()
